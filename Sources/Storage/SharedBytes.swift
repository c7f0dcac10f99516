/// Bytes that stay readable as long as the reference: part of a mapping, or a buffer.
package final class SharedBytes: Sendable {
  private enum Storage: Sendable {
    case mapped(MappedFile, Range<Int>)
    case owned(SharedBuffer)
  }
  private let storage: Storage

  package init(_ mapping: MappedFile, _ range: Range<Int>) { storage = .mapped(mapping, range) }
  package init(_ buffer: consuming AlignedBuffer) { storage = .owned(buffer.share()) }
  package init(_ buffer: SharedBuffer) { storage = .owned(buffer) }

  package var byteCount: Int {
    switch storage {
    case .mapped(_, let range): range.count
    case .owned(let buffer): buffer.byteCount
    }
  }

  /// Whether the bytes are memory of our own rather than pages of a file.
  package var isOwned: Bool { if case .owned = storage { true } else { false } }

  /// The file that they lie in, and where; nil for memory of our own.
  package var placeInFile: (mapping: MappedFile, range: Range<Int>)? {
    if case .mapped(let mapping, let range) = storage { (mapping, range) } else { nil }
  }

  /// Whether the system tells what of them is in memory.
  package var residencyIsTold: Bool { placeInFile?.mapping.residencyIsTold ?? true }

  /// Whether they are in memory, as far as the first and the last page tell.
  package var isResident: Bool {
    if case .mapped(let mapping, let range) = storage { mapping.isResident(range) } else { true }
  }

  /// Asks the system to read ahead what lies in a file; a hint.
  ///
  /// - Returns: whether that was not in memory.
  @discardableResult package func willNeed() -> Bool {
    if case .mapped(let mapping, let range) = storage { mapping.willNeed(range) } else { false }
  }

  /// Lets go of pages of a file, which leave the page cache too: for what is read once.
  package func release() {
    if case .mapped(let mapping, let range) = storage { mapping.release(range) }
  }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      switch storage {
      case .mapped(let mapping, let range):
        return unsafe _overrideLifetime(mapping.bytes.extracting(range), borrowing: self)
      case .owned(let buffer): return unsafe _overrideLifetime(buffer.bytes, borrowing: self)
      }
    }
  }
}
