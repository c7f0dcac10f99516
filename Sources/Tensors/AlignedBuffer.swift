import Glibc

/// The owner of a run of bytes that starts on a 64-byte boundary, the width of a cache line and of the widest vector.
///
/// New bytes are zero.
@safe package struct AlignedBuffer: ~Copyable, @unchecked Sendable {
  package static var alignment: Int { 64 }

  package let byteCount: Int
  private let base: UnsafeMutableRawPointer

  package init(byteCount: Int) {
    precondition(byteCount >= 0)
    let capacity = max(byteCount, 1)
    var pointer: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&pointer, Self.alignment, capacity) == 0, let pointer = unsafe pointer else {
      fatalError("out of memory: \(byteCount) bytes")
    }
    unsafe memset(pointer, 0, capacity)
    self.byteCount = byteCount
    unsafe base = pointer
  }

  deinit { unsafe free(base) }

  /// Hands the memory to someone else, who frees it.
  fileprivate consuming func take() -> UnsafeMutableRawPointer {
    let base = unsafe base
    discard self
    return unsafe base
  }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: base, byteCount: byteCount), borrowing: self) }
  }

  package var mutableBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      unsafe _overrideLifetime(MutableRawSpan(_unsafeStart: base, byteCount: byteCount), mutating: &self)
    }
  }

  /// Gives two ranges that do not overlap to be written at once.
  package mutating func withDisjoint<Result, Failure: Error>(
    _ first: Range<Int>, _ second: Range<Int>,
    _ body: (inout MutableRawSpan, inout MutableRawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(first.clamped(to: 0..<byteCount) == first && second.clamped(to: 0..<byteCount) == second)
    precondition(first.upperBound <= second.lowerBound || second.upperBound <= first.lowerBound)
    var a = unsafe MutableRawSpan(_unsafeStart: base + first.lowerBound, byteCount: first.count)
    var b = unsafe MutableRawSpan(_unsafeStart: base + second.lowerBound, byteCount: second.count)
    return try body(&a, &b)
  }
}

/// The bytes of an `AlignedBuffer` that is finished: nobody writes any more, several may read.
@safe package final class SharedBuffer: Sendable {
  package let byteCount: Int
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer

  package init(_ buffer: consuming AlignedBuffer) {
    byteCount = buffer.byteCount
    unsafe base = buffer.take()
  }

  deinit { unsafe free(base) }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: base, byteCount: byteCount), borrowing: self) }
  }
}
