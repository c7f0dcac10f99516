/// What a calibrated solver would make of a matrix, without the last of its work: enough to compare encodings by what they lose.
package struct MatrixDraft: Sendable {
  /// (rows, columns), before they are polished; all 0 where scales alone were asked for.
  let codes: [Int8]
  /// (rows, columns / group size).
  let scales: [Float]
  let groupSize: Int
  /// tr(D H Dᵀ) of the codes, with the moments before damping; nil for scales alone.
  package let outputError: Double?

  /// (rows, columns): what codes and scales stand for.
  package var decoded: [Float] {
    var values = [Float](repeating: 0, count: codes.count)
    for (group, scale) in scales.enumerated() {
      for i in group * groupSize..<(group + 1) * groupSize { values[i] = Float(codes[i]) * scale }
    }
    return values
  }

  /// A measure, up to a constant factor, of the output error to expect if rounding errors are spread evenly over a step: P of
  /// `Formats/solver.md`, section 10.
  ///
  /// - Parameter moments: those of the draft.
  package func expectedError(_ moments: ConditionedMoments) -> Double {
    let groups = moments.columns / groupSize
    var power = [Double](repeating: 0, count: groups)
    for (column, own) in moments.remainingPower.enumerated() { power[column / groupSize] += own }
    var error = 0.0
    for (place, scale) in scales.enumerated() { error += Double(scale) * Double(scale) * power[place % groups] }
    return error
  }
}
