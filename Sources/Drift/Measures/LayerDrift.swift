/// How hidden states move apart from layer to layer (`Formats/drift-report.md` §7).
package struct LayerDrift: Sendable {
  struct Sums: Sendable {
    var error = 0.0
    var weight = 0.0
    var cosines = 0.0
    var rows = 0
    /// Rows left out, where a hidden state is not finite: of the reference, and of the candidate.
    var nonFinite = (reference: 0, candidate: 0, either: 0)
    /// The error of the reference with noise, where both are finite.
    var floorError = 0.0
    var floorWeight = 0.0
    var floorNonFinite = 0
    var hasFloor = false
  }
  var layers: [Int: Sums] = [:]

  package init() {}

  /// Those of other texts, too.
  package static func += (all: inout Self, others: Self) {
    for (layer, other) in others.layers {
      var sums = all.layers[layer] ?? Sums()
      sums.error += other.error
      sums.weight += other.weight
      sums.cosines += other.cosines
      sums.rows += other.rows
      sums.nonFinite.reference += other.nonFinite.reference
      sums.nonFinite.candidate += other.nonFinite.candidate
      sums.nonFinite.either += other.nonFinite.either
      sums.floorError += other.floorError
      sums.floorWeight += other.floorWeight
      sums.floorNonFinite += other.floorNonFinite
      sums.hasFloor = sums.hasFloor || other.hasFloor
      all.layers[layer] = sums
    }
  }

  /// - Parameters:
  ///   - a: (rows, width) of the reference.
  ///   - b: of the candidate; nil where there is none.
  ///   - floor: of the reference with noise, or nil.
  ///   - rows: those that count.
  package mutating func add(layer: Int, _ a: [Float], _ b: [Float]?, floor: [Float]?, rows: [Int], width: Int) {
    var sums = layers[layer] ?? Sums()
    for row in rows {
      var (aa, bb, ab, error, noise) = (0.0, 0.0, 0.0, 0.0, 0.0)
      for index in row * width..<(row + 1) * width {
        let x = Double(a[index])
        let y = b.map { Double($0[index]) } ?? x
        aa += x * x
        bb += y * y
        ab += x * y
        error += (x - y) * (x - y)
        if let floor { noise += (x - Double(floor[index])) * (x - Double(floor[index])) }
      }
      // Squares of floats do not overflow here: a sum is finite where all of them are.
      if aa.isFinite, bb.isFinite {
        sums.error += error
        sums.weight += aa
        sums.cosines += error == 0 ? 1 : aa * bb > 0 ? ab / (aa * bb).squareRoot() : 0
        sums.rows += 1
      } else {
        sums.nonFinite.either += 1
        if !aa.isFinite { sums.nonFinite.reference += 1 }
        if !bb.isFinite, b != nil { sums.nonFinite.candidate += 1 }
      }
      if aa.isFinite, noise.isFinite {
        sums.floorError += noise
        sums.floorWeight += aa
      } else if aa.isFinite {
        sums.floorNonFinite += 1
      }
    }
    if floor != nil { sums.hasFloor = true }
    layers[layer] = sums
  }

  /// By layer, the relative error of the floor, where there was one.
  package var floorErrors: [Int: Double] {
    layers.filter(\.value.hasFloor).mapValues { sums in
      sums.floorWeight > 0 ? (sums.floorError / sums.floorWeight).squareRoot() : 0
    }
  }

  /// The first layer (−1: the embeddings) behind which a row is not finite, of each model; nil where all are.
  package var firstNonFinite: (reference: Int?, candidate: Int?, floor: Int?) {
    let first = { (count: (Sums) -> Int) in layers.filter { count($0.value) > 0 }.keys.min() }
    return (first { $0.nonFinite.reference }, first { $0.nonFinite.candidate }, first { $0.floorNonFinite })
  }

  package var section: [DriftReport.Layer] {
    layers.sorted { $0.key < $1.key }.map { layer, sums in
      let relative = { (error: Double, weight: Double) in weight > 0 ? (error / weight).squareRoot() : 0 }
      return DriftReport.Layer(
        layer: layer, nonFinite: sums.nonFinite.either,
        relativeError: sums.rows > 0 ? relative(sums.error, sums.weight) : nil,
        cosine: sums.rows > 0 ? sums.cosines / Double(sums.rows) : nil,
        floor: sums.hasFloor ? relative(sums.floorError, sums.floorWeight) : nil)
    }
  }
}
