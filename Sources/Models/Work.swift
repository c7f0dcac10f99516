import Kernels
import Storage
import Tensors

// How much there is to multiply, and how fast this machine does it.

extension WeightSource {
  /// Multiplications of a weight with an activation, norms and attention left out.
  ///
  /// - Parameters:
  ///   - rows: that go through the layers.
  ///   - headRows: of logits.
  package func multiplications(rows: Int, headRows: Int) -> Double {
    let c = configuration
    let hasHead = hasTensor(TensorID(.head, .weight))
    var sum = 0.0
    for item in items {
      let count = item.tensors.reduce(0) { $0 + Double($1.shape.elementCount) }
      switch item.id.role {
      case .embedding: sum += hasHead ? 0 : count * Double(headRows)
      case .head: sum += count * Double(headRows)
      case .expert: sum += count * Double(rows * c.expertsPerToken) / Double(c.expertCount)
      default: sum += count * Double(rows)
      }
    }
    return sum
  }

  /// Bytes that are read of a place to see how long it takes.
  private static var sampledByteCount: Int { 4 << 20 }

  /// Seconds in which all weights but the embeddings are read once, by how long parts of some of them take; 0 where these are in
  /// memory.
  package func secondsToRead() -> Double {
    var all: [SharedBytes] = []
    for item in items where item.id.role != .embedding { all += places(of: item) }
    let looked = stride(from: 0, to: all.count, by: max(1, all.count / 32)).map { all[$0] }
    let missing = looked.filter { !$0.isResident && $0.placeInFile != nil }
    guard !missing.isEmpty else { return 0 }
    var buffer = AlignedBuffer(byteCount: ReadOnlyFile.bufferByteCount(Self.sampledByteCount))
    var read = 0
    let time = ContinuousClock().measure {
      for place in missing {
        guard let (file, range) = place.placeInFile else { continue }
        let part = range.lowerBound..<min(range.upperBound, range.lowerBound + Self.sampledByteCount)
        // What cannot be read is said by whoever needs it.
        if (try? ReadOnlyFile(file).read(part, into: &buffer)) != nil { read += part.count }
      }
    }
    let byteCount = all.reduce(0) { $0 + $1.byteCount }
    let share = Double(missing.count) / Double(looked.count)
    return time / .seconds(1) / Double(max(read, 1)) * Double(byteCount) * share
  }
}

extension TransformerModel {
  /// Multiplications a second of an expert's weights, or of a dense layer's where there are no experts, with the activations of
  /// many rows, on all threads. Trying it takes some hundredths of a second for a large model.
  package func multiplicationRate() throws(ModelError) -> Double {
    let gated: GatedMLP
    if let layer = (0..<configuration.layerCount).first(where: configuration.isMoE) {
      let expert = try weights.expert(layer: layer, expert: 0)
      gated = GatedMLP(gate: expert.gate, up: expert.up, down: expert.down)
    } else {
      gated = GatedMLP(
        gate: try weights.matrix(TensorID(.denseMLP, .gate, layer: 0)),
        up: try weights.matrix(TensorID(.denseMLP, .up, layer: 0)),
        down: try weights.matrix(TensorID(.denseMLP, .down, layer: 0)))
    }
    let (rows, columns, perThread) = (128, configuration.hiddenSize, 2)
    let x = [Float](repeating: 0.5, count: rows * columns)
    let clock = ContinuousClock()
    // The first brings weights and code into memory.
    let times = (0..<4).map { _ in
      clock.measure {
        _ = Parallel.map(count: perThread * compute.threads, threads: compute.threads) { [compute] _ in
          gated.apply(to: x, rows: rows, compute.ofExperts)[0]
        }
      } / .seconds(1)
    }
    let count = 3 * gated.gate.rows * columns * rows * perThread * compute.threads
    return Double(count) / max(times.dropFirst().min() ?? 0, .leastNormalMagnitude)
  }
}
