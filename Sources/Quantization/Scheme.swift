package import Tensors

/// What the bytes of a grouped encoding mean, as plain code: this is the definition, and kernels agree with it to the bit.
/// The text beside it is `Formats/encodings.md`.
package protocol Scheme: Sendable {
  /// The family of encodings, one for each group size.
  static var kind: Encoding.Kind { get }
  /// The codes an encoder may write.
  static var codes: ClosedRange<Int> { get }
  /// X of section 9: what the largest magnitude of a group becomes.
  static var searchRange: Int { get }
  /// The list of section 9, in order.
  static var multipliers: [Int] { get }
  /// The bytes of 32 codes in element order.
  static func bytes(ofRun codes: [Int]) -> [UInt8]
  /// The 32 codes in bytes, in element order; the inverse.
  static func codes(ofRun bytes: ArraySlice<UInt8>) -> [Int]
}

/// The planes of an encoded tensor and how far they are from the source.
package struct EncodedGroups: Sendable, Equatable {
  package var codes: [UInt8] = []
  /// bf16 bits, one a group.
  package var scales: [UInt16] = []
  package var statistics = QuantizationStatistics()
}

extension Scheme {
  static func clamp(_ code: Int) -> Int { min(max(code, codes.lowerBound), codes.upperBound) }

  /// Encodes whole groups.
  ///
  /// - Throws: ``QuantizationError/notFinite(element:)`` or ``QuantizationError/scaleTooLarge(element:)``, whichever
  ///   comes in an earlier group, the former within one.
  package static func encode(
    _ x: [Float], groupSize: Int, solver: Solver
  ) throws(QuantizationError) -> EncodedGroups {
    precondition(x.count % groupSize == 0)
    var result = EncodedGroups()
    for start in stride(from: 0, to: x.count, by: groupSize) {
      let group = x[start..<start + groupSize]
      if let element = group.firstIndex(where: { !$0.isFinite }) { throw .notFinite(element: element) }
      guard let scale = solver.scale(group, Self.self) else {
        throw .scaleTooLarge(element: largest(group))
      }
      append(group, scale, to: &result)
    }
    return result
  }

  /// Sections 7 and 10 for one group.
  private static func append(_ group: ArraySlice<Float>, _ scale: UInt16, to result: inout EncodedGroups) {
    let s = BFloat16.widen(scale)
    let r = s == 0 ? 0 : 1 / s
    let found = group.map { clamp(Int(($0 * r).rounded(.toNearestOrEven))) }
    var error = [Float](repeating: 0, count: 16)
    var weight = error
    for (i, (x, code)) in zip(group, found).enumerated() {
      let e = x - Float(code) * s
      error[i % 16] += e * e
      weight[i % 16] += x * x
    }
    result.scales.append(scale)
    for run in stride(from: 0, to: found.count, by: 32) {
      result.codes += bytes(ofRun: Array(found[run..<run + 32]))
    }
    result.statistics += QuantizationStatistics(
      squaredError: Double(sumInPairs(error)), squaredWeight: Double(sumInPairs(weight)),
      saturated: found.count { $0 == codes.lowerBound || $0 == codes.upperBound }, count: found.count)
  }

  /// 16 partial sums: k with k + 8, k + 4, k + 2, k + 1.
  private static func sumInPairs(_ partial: [Float]) -> Float {
    var partial = partial
    for half in [8, 4, 2, 1] {
      for k in 0..<half { partial[k] += partial[k + half] }
    }
    return partial[0]
  }

  /// The index of the first element of largest magnitude.
  private static func largest(_ x: ArraySlice<Float>) -> Int {
    x.indices.reduce(x.startIndex) { abs(x[$1]) > abs(x[$0]) ? $1 : $0 }
  }

  /// Decodes whole groups: `float(code) · scale`.
  package static func decode(codes: [UInt8], scales: [UInt16], groupSize: Int) -> [Float] {
    let runByteCount = codes.count / (scales.count * groupSize / 32)
    return stride(from: 0, to: codes.count, by: runByteCount).enumerated().flatMap { run, start in
      let s = BFloat16.widen(scales[run * 32 / groupSize])
      return self.codes(ofRun: codes[start..<start + runByteCount]).map { Float($0) * s }
    }
  }
}
