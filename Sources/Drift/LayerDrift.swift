package import JSON

/// How hidden states move apart from layer to layer (`Formats/drift-report.md` §7).
package struct LayerDrift: Sendable {
  private struct Sums: Sendable {
    var error = 0.0
    var weight = 0.0
    var cosines = 0.0
    var rows = 0
    var floorError = 0.0
    var hasFloor = false
  }
  private var layers: [Int: Sums] = [:]

  package init() {}

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
      sums.error += error
      sums.weight += aa
      sums.cosines += error == 0 ? 1 : aa * bb > 0 ? ab / (aa * bb).squareRoot() : 0
      sums.rows += 1
      sums.floorError += noise
    }
    if floor != nil { sums.hasFloor = true }
    layers[layer] = sums
  }

  /// By layer, the relative error of the floor, where there was one.
  package var floorErrors: [Int: Double] {
    layers.filter(\.value.hasFloor).mapValues { sums in
      sums.weight > 0 ? (sums.floorError / sums.weight).squareRoot() : 0
    }
  }

  package var json: [JSONValue] {
    layers.sorted { $0.key < $1.key }.map { layer, sums in
      let relative = { (error: Double) in sums.weight > 0 ? (error / sums.weight).squareRoot() : 0 }
      return [
        "layer": JSONValue(layer), "relative_error": JSONValue(relative(sums.error)),
        "cosine": JSONValue(sums.cosines / Double(max(sums.rows, 1))),
        "floor": sums.hasFloor ? JSONValue(relative(sums.floorError)) : .null,
      ]
    }
  }
}
