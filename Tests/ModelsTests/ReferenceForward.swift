import Kernels
import Models
import Testing

/// The forward pass of llada2.md §3 once more, in binary64 and plain loops: one sequence, no cache, an explicit mask. It
/// shares nothing with the model but the reading of single rows.
struct ReferenceForward {
  struct Result {
    /// After the final norm, by row.
    var hidden: [[Double]] = []
    var logits: [[Double]] = []
    /// By MoE layer and row.
    var experts: [[[Int]]] = []
    var weights: [[[Double]]] = []
  }
  typealias Rows = [[Double]]

  let source: any WeightSource
  let c: ModelConfiguration

  init(_ source: any WeightSource) {
    self.source = source
    c = source.configuration
  }

  func run(_ tokens: [Int], blockLength: Int) throws -> Result {
    let embedding = try rows("model.word_embeddings.weight")
    var h = tokens.map { embedding[$0] }
    var result = Result()
    for layer in 0..<c.layerCount {
      let prefix = "model.layers.\(layer)."
      let attended = try attention(normed(h, rows(prefix + "input_layernorm.weight")[0]), prefix, blockLength)
      h = sum(h, attended)
      let x = normed(h, try rows(prefix + "post_attention_layernorm.weight")[0])
      if layer < c.firstDenseLayers {
        h = sum(h, try x.map { try mlp($0, prefix + "mlp.") })
      } else {
        h = sum(h, try mixture(x, layer, prefix + "mlp.", &result))
      }
    }
    result.hidden = normed(h, try rows("model.norm.weight")[0])
    let head = try has("lm_head.weight") ? try rows("lm_head.weight") : embedding
    result.logits = result.hidden.map { product(head, $0) }
    return result
  }

  private func attention(_ x: Rows, _ prefix: String, _ blockLength: Int) throws -> Rows {
    let weight = try rows(prefix + "attention.query_key_value.weight")
    var projected = x.map { product(weight, $0) }
    if c.usesQKVBias {
      let bias = try rows(prefix + "attention.query_key_value.bias")[0]
      projected = projected.map { zip($0, bias).map(+) }
    }
    let isNormed = try has(prefix + "attention.query_layernorm.weight")
    let queryNorm = isNormed ? try rows(prefix + "attention.query_layernorm.weight")[0] : []
    let keyNorm = isNormed ? try rows(prefix + "attention.key_layernorm.weight")[0] : []
    // Heads stand one after the other: all of the queries, all of the keys, all of the values.
    func head(_ row: Int, _ index: Int) -> [Double] {
      Array(projected[row][index * c.headDimension..<(index + 1) * c.headDimension])
    }
    func turned(_ row: Int, _ index: Int, _ norm: [Double]) -> [Double] {
      rotated(isNormed ? normed([head(row, index)], norm)[0] : head(row, index), position: row)
    }
    var output = Rows(repeating: [], count: x.count)
    for query in 0..<c.headCount {
      let group = query / (c.headCount / c.keyValueHeadCount)
      let keys = x.indices.map { turned($0, c.headCount + group, keyNorm) }
      let values = x.indices.map { head($0, c.headCount + c.keyValueHeadCount + group) }
      for row in x.indices {
        let q = turned(row, query, queryNorm)
        var weights = x.indices.map { other in
          other / blockLength <= row / blockLength
            ? exponential(dot(q, keys[other]) / Double(c.headDimension).squareRoot()) : 0
        }
        let total = weights.reduce(0, +)
        weights = weights.map { $0 / total }
        for channel in 0..<c.headDimension {
          output[row].append(x.indices.reduce(0) { $0 + weights[$1] * values[$1][channel] })
        }
      }
    }
    let dense = try rows(prefix + "attention.dense.weight")
    let bias = c.usesBias ? try rows(prefix + "attention.dense.bias")[0] : Array(repeating: 0, count: c.hiddenSize)
    return output.map { zip(product(dense, $0), bias).map(+) }
  }

  /// Channels j and j + d/2 of the first d are a complex number, turned by position · θ^(−2j/d).
  private func rotated(_ head: [Double], position: Int) -> [Double] {
    let d = Int(Double(c.headDimension) * c.partialRotaryFactor)
    var out = head
    for j in 0..<d / 2 {
      let angle = Double(position) * power(c.ropeTheta, -2 * Double(j) / Double(d))
      let (real, imaginary) = (head[j], head[j + d / 2])
      out[j] = real * cosine(angle) - imaginary * sine(angle)
      out[j + d / 2] = real * sine(angle) + imaginary * cosine(angle)
    }
    return out
  }

  private func mixture(_ x: Rows, _ layer: Int, _ prefix: String, _ result: inout Result) throws -> Rows {
    let gate = try rows(prefix + "gate.weight")
    let bias = try rows(prefix + "gate.expert_bias")[0]
    let scores = x.map { row in product(gate, row).map { 1 / (1 + exponential(-$0)) } }
    let experts = choices(scores, bias)
    let weights = zip(scores, experts).map { scores, experts in
      let chosen = experts.map { scores[$0] }
      return chosen.map { $0 / (chosen.reduce(0, +) + 1e-20) * c.routedScalingFactor }
    }
    result.experts.append(experts)
    result.weights.append(weights)
    return try x.indices.map { row in
      var y = [Double](repeating: 0, count: c.hiddenSize)
      for (expert, weight) in zip(experts[row], weights[row]) {
        let parts = try source.expert(layer: layer, expert: expert)
        y = zip(y, gated(x[row], rows(parts.gate), rows(parts.up), rows(parts.down))).map { $0 + weight * $1 }
      }
      return c.sharedExpertCount > 0 ? zip(y, try mlp(x[row], prefix + "shared_experts.")).map(+) : y
    }
  }

  private func choices(_ scores: Rows, _ bias: [Double]) -> [[Int]] {
    let biased = scores.map { zip($0, bias).map(+) }
    return biased.indices.map { row in
      let allowed: Set<Int>
      if let routing = c.blockRouting {
        let window = biased.indices.filter { $0 / routing.blockSize == row / routing.blockSize }
        let best = bias.indices.map { expert in window.map { biased[$0][expert] }.max() ?? 0 }
        allowed = Set(top(routing.expertCapacity, best))
      } else {
        let size = c.expertCount / c.groupCount
        let groups = (0..<c.groupCount).map { group in
          biased[row][group * size..<(group + 1) * size].sorted(by: >).prefix(2).reduce(0, +)
        }
        let kept = top(c.topGroupCount, groups)
        allowed = Set(bias.indices.filter { kept.contains($0 / size) })
      }
      return top(c.expertCount, biased[row]).filter(allowed.contains).prefix(c.expertsPerToken).map { $0 }
    }
  }

  private func top(_ count: Int, _ values: [Double]) -> [Int] {
    Array(values.indices.sorted { values[$0] > values[$1] || (values[$0] == values[$1] && $0 < $1) }.prefix(count))
  }

  private func mlp(_ x: [Double], _ prefix: String) throws -> [Double] {
    gated(
      x, try rows(prefix + "gate_proj.weight"), try rows(prefix + "up_proj.weight"),
      try rows(prefix + "down_proj.weight"))
  }

  private func gated(_ x: [Double], _ gate: Rows, _ up: Rows, _ down: Rows) -> [Double] {
    let inner = zip(product(gate, x), product(up, x)).map { gate, up in gate / (1 + exponential(-gate)) * up }
    return product(down, inner)
  }

  private func normed(_ x: Rows, _ weight: [Double]) -> Rows {
    x.map { row in
      let factor = 1 / (dot(row, row) / Double(row.count) + c.rmsNormEpsilon).squareRoot()
      return zip(row, weight).map { $0 * factor * $1 }
    }
  }

  private func id(_ name: String) throws -> TensorID { try #require(Architectures.identify(name)) }
  private func has(_ name: String) throws -> Bool { source.hasTensor(try id(name)) }
  private func rows(_ name: String) throws -> Rows { rows(try source.matrix(try id(name))) }

  private func rows(_ matrix: Matrix) -> Rows {
    let compute = Compute(kernels: .best, threads: 1)
    return (0..<matrix.rows).map { compute.row($0, of: matrix).map(Double.init) }
  }

  private func product(_ matrix: Rows, _ x: [Double]) -> [Double] { matrix.map { dot($0, x) } }
  private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
  private func sum(_ a: Rows, _ b: Rows) -> Rows { zip(a, b).map { zip($0, $1).map(+) } }
}
