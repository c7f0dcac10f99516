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
  package func take(byteCount: Int) -> AlignedBuffer {
    let memory = idle.withLock { $0.popLast() } ?? Memory(byteCount: capacity)
    return AlignedBuffer(SharedBuffer(memory, byteCount, pool: self))
  }

  func put(_ memory: Memory) { idle.withLock { $0.append(memory) } }
}
