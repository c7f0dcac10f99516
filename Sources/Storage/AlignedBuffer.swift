import Glibc

/// The one writer of a run of bytes that starts on a page.
package struct AlignedBuffer: ~Copyable, Sendable {
  private let storage: SharedBuffer
  /// The storage's: the 6.3.1 optimiser crashes on a mutable span that goes through the class.
  private let memory: Memory

  /// New bytes are zero.
  package init(byteCount: Int) { self.init(SharedBuffer(Memory(byteCount: byteCount), byteCount, pool: nil)) }

  init(_ storage: SharedBuffer) {
    self.storage = storage
    memory = storage.memory
  }

  package var byteCount: Int { storage.byteCount }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: memory.base, byteCount: byteCount), borrowing: self) }
  }

  package var mutableBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: memory.base, byteCount: byteCount), mutating: &self)
    }
  }

  /// Gives two ranges that do not overlap to be written at once.
  package mutating func withDisjoint<Result, Failure: Error>(
    _ first: Range<Int>, _ second: Range<Int>,
    _ body: (inout MutableRawSpan, inout MutableRawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(first.clamped(to: 0..<byteCount) == first && second.clamped(to: 0..<byteCount) == second)
    precondition(first.upperBound <= second.lowerBound || second.upperBound <= first.lowerBound)
    var a = unsafe MutableRawSpan(_unsafeStart: memory.base + first.lowerBound, byteCount: first.count)
    var b = unsafe MutableRawSpan(_unsafeStart: memory.base + second.lowerBound, byteCount: second.count)
    return try body(&a, &b)
  }

  /// Ends the writing: from now on several may read.
  package consuming func share() -> SharedBuffer { storage }
}

/// The owner of the bytes of a finished `AlignedBuffer`.
package final class SharedBuffer: Sendable {
  package let byteCount: Int
  fileprivate let memory: Memory
  private let pool: BufferPool?

  init(_ memory: Memory, _ byteCount: Int, pool: BufferPool?) {
    precondition(byteCount >= 0 && byteCount <= memory.byteCount)
    self.memory = memory
    self.byteCount = byteCount
    self.pool = pool
  }

  deinit {
    if let pool { pool.put(memory) } else { memory.free() }
  }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: memory.base, byteCount: byteCount), borrowing: self) }
  }
}

/// Pages straight from the system, zeroed, given back whole: the C library would keep freed megabytes for itself, and a
/// promise about memory could not be held.
@safe struct Memory: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  let byteCount: Int

  init(byteCount: Int) {
    self.byteCount = byteCount
    guard
      let base = unsafe mmap(nil, max(byteCount, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe base != MAP_FAILED
    else { abort() }  // as the language does where its own allocations fail, with ENOMEM as the error number
    unsafe self.base = base
  }

  func free() { unsafe _ = munmap(base, max(byteCount, 1)) }
}
