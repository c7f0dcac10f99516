import Synchronization

/// Buffers of one size that go round: taken, written, shared, and back when the last reference goes.
///
/// Saves the system zeroing fresh pages for each chunk. As many buffers exist as were ever out at once.
package final class BufferPool: Sendable {
  /// What each buffer can hold.
  package let capacity: Int
  private let idle = Mutex<[Memory]>([])

  package init(capacity: Int) { self.capacity = capacity }

  deinit { idle.withLock { for memory in $0 { memory.free() } } }

  /// A buffer with the bytes its last user left in it.
  ///
  /// - Parameter byteCount: at most the capacity, which it is when left out.
  package func take(byteCount: Int? = nil) -> AlignedBuffer {
    let memory = idle.withLock { $0.popLast() } ?? Memory(byteCount: capacity)
    return AlignedBuffer(SharedBuffer(memory, byteCount ?? capacity, pool: self))
  }

  func put(_ memory: Memory) { idle.withLock { $0.append(memory) } }
}
