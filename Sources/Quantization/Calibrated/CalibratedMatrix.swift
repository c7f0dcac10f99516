/// A matrix solved under the moments of its inputs.
package struct CalibratedMatrix: Sendable {
  /// (rows, columns).
  package let codes: [Int8]
  /// (rows, columns / group size), values of the grid; a portable one is +0 where all weights of a group are negligible.
  package let scales: [Float]
  /// (rows): the least magnitude of a scale of one byte; empty for others.
  let leastScales: [Float]
  /// Against the weights: `Formats/encodings.md`, section 10.
  package let statistics: QuantizationStatistics
  /// tr(D H Dᵀ) with what the weights lost, D, and the moments after shrinking and before damping; without shrinking, Σ ω |D z|².
  package let outputError: Double
  /// tr(W H Wᵀ).
  package let outputPower: Double
  package let conditioning: MomentConditioning

  /// tr(D H Dᵀ) / tr(W H Wᵀ).
  package var relativeOutputError: Double { outputPower > 0 ? outputError / outputPower : 0 }

  /// The bytes of plane 1: `Formats/encodings.md`, section 3.
  package var scalePlane: [UInt8] {
    var plane: [UInt8] = []
    guard !leastScales.isEmpty else {
      for scale in scales {
        let bits = UInt16(truncatingIfNeeded: scale.bitPattern >> 16)
        plane += [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
      }
      return plane
    }
    let groups = scales.count / leastScales.count
    for (row, least) in leastScales.enumerated() {
      plane.append(UInt8(least.bitPattern >> 23))
      for scale in scales[row * groups..<(row + 1) * groups] {
        let index = (scale.bitPattern & 0x7FFF_FFFF) >> 19 - least.bitPattern >> 19
        plane.append(UInt8(index) | (scale.sign == .minus ? 0x80 : 0))
      }
    }
    return plane
  }

  /// The bytes of plane 0: `Formats/encodings.md`, sections 4 and 5.
  package func codePlane(bits: Int) -> [UInt8] {
    if bits == 8 { return codes.map { UInt8(bitPattern: $0) } }
    var plane = [UInt8](repeating: 0, count: codes.count / 2)
    for run in 0..<codes.count / 32 {
      for j in 0..<16 {
        let low = codes[run * 32 + j] + 8, high = codes[run * 32 + j + 16] + 8
        plane[run * 16 + j] = UInt8(low) | UInt8(high) << 4
      }
    }
    return plane
  }
}
