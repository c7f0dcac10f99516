/// Views of arrays for functions that take raw bytes.
extension Array where Element == UInt8 {
  package var rawBytes: RawSpan {
    @_lifetime(borrow self) get { unsafe span.bytes }
  }

  package var mutableRawBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      // The array is unique now and cannot change while the span lives.
      let buffer = unsafe withUnsafeMutableBytes { unsafe $0 }
      return unsafe _overrideLifetime(MutableRawSpan(_unsafeBytes: buffer), mutating: &self)
    }
  }
}
