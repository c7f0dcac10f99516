import Kernels
import Tensors

/// The keys, or the values, of one head: (positions, head dimension), as numbers of one type.
package struct KeyValueRows: Sendable {
  private enum Numbers {
    case fp32([Float])
    case bf16([UInt16])
  }
  private var numbers: Numbers

  /// None, of a type.
  package init(_ type: KeyValueType) {
    switch type {
    case .fp32: numbers = .fp32([])
    case .bf16: numbers = .bf16([])
    }
  }

  package init(_ values: [Float], as type: KeyValueType = .fp32) {
    self.init(type)
    grow(to: values.count, as: type, reserving: values.count)
    write(values[...], at: 0)
  }

  package var count: Int {
    switch numbers {
    case .fp32(let all): all.count
    case .bf16(let all): all.count
    }
  }

  /// Adds zeros up to `count`; of none, the type may become another.
  ///
  /// - Parameter reserved: numbers for which room is kept.
  mutating func grow(to count: Int, as type: KeyValueType, reserving reserved: Int) {
    if self.count == 0 { self = Self(type) }
    let missing = count - self.count
    guard missing > 0 else { return }
    switch numbers {
    case .fp32(var all):
      precondition(type == .fp32)
      numbers = .fp32([])  // the array is changed in place
      all.reserveCapacity(reserved)
      all.append(contentsOf: repeatElement(0, count: missing))
      numbers = .fp32(all)
    case .bf16(var all):
      precondition(type == .bf16)
      numbers = .bf16([])
      all.reserveCapacity(reserved)
      all.append(contentsOf: repeatElement(0, count: missing))
      numbers = .bf16(all)
    }
  }

  /// Writes numbers over those from a place on.
  mutating func write(_ values: ArraySlice<Float>, at first: Int) {
    switch numbers {
    case .fp32(var all):
      numbers = .fp32([])
      all.replaceSubrange(first..<first + values.count, with: values)
      numbers = .fp32(all)
    case .bf16(var all):
      numbers = .bf16([])
      for (index, value) in values.enumerated() { all[first + index] = BFloat16.narrow(value).littleEndian }
      numbers = .bf16(all)
    }
  }

  /// Gives some numbers in binary32, where they lie or else in `room`.
  ///
  /// - Parameter room: is as long as it has to be afterwards; the same may serve many calls.
  func with<Result>(
    _ range: Range<Int>, _ kernels: KernelSet, room: inout [Float], _ body: (Span<Float>) -> Result
  ) -> Result {
    switch numbers {
    case .fp32(let all): return body(all.span.extracting(range))
    case .bf16(let all):
      if room.count < range.count { room = [Float](repeating: 0, count: range.count) }
      var span = room.mutableSpan
      var own = span._mutatingExtracting(0..<range.count)
      unsafe kernels.widen(all.span.extracting(range).bytes, source: .bf16, into: &own)
      return body(room.span.extracting(0..<range.count))
    }
  }
}
