import Glibc

/// Reading and writing of little-endian fields, whatever their alignment.
extension RawSpan {
  /// The integer at a byte offset. Traps outside the span, so callers check lengths first.
  package func integer<T: FixedWidthInteger & BitwiseCopyable>(at byteOffset: Int, as type: T.Type = T.self) -> T {
    T(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: byteOffset, as: T.self))
  }

  /// The float at a byte offset.
  package func float(at byteOffset: Int) -> Float { Float(bitPattern: integer(at: byteOffset)) }

  /// Whether any of the bytes has this value.
  package func contains(_ byte: UInt8) -> Bool {
    unsafe withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return false }
      return unsafe memchr(base, Int32(byte), bytes.count) != nil
    }
  }

  /// A copy of the bytes.
  package var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }

  /// The bytes as text, or nil when they are not UTF-8.
  package var utf8: String? { unsafe withUnsafeBytes { unsafe String(validating: $0, as: UTF8.self) } }
}

extension MutableRawSpan {
  /// Copies all of `source` to a byte offset. Traps where it does not fit.
  @_lifetime(self: copy self)
  package mutating func write(_ source: RawSpan, at byteOffset: Int) {
    precondition(byteOffset >= 0 && source.byteCount <= byteCount - byteOffset)
    unsafe withUnsafeMutableBytes { target in
      unsafe source.withUnsafeBytes { (bytes: UnsafeRawBufferPointer) in
        guard unsafe !bytes.isEmpty else { return }
        unsafe target.baseAddress.unsafelyUnwrapped.advanced(by: byteOffset)
          .copyMemory(from: bytes.baseAddress.unsafelyUnwrapped, byteCount: bytes.count)
      }
    }
  }
}

extension [UInt8] {
  /// A view of the elements as raw bytes.
  package var bytes: RawSpan {
    @_lifetime(borrow self) get { unsafe span.bytes }
  }
}

/// Appends little-endian fields; the inverse of `RawSpan.integer(at:)`.
package struct ByteWriter {
  package private(set) var bytes: [UInt8] = []

  package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  package mutating func append<T: FixedWidthInteger>(_ value: T) {
    unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
  }
  package mutating func append(_ value: Float) { append(value.bitPattern) }
  package mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
  package mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
  package mutating func zeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }
  /// Zeros up to the next multiple of `alignment`.
  package mutating func align(_ alignment: Int) { zeros(bytes.count.roundedUp(to: alignment) - bytes.count) }
}

extension Int {
  /// The smallest multiple of `step` that is not below this number.
  package func roundedUp(to step: Int) -> Int { (self + step - 1) / step * step }
}
