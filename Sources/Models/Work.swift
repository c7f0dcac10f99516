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
    var sum = 0.0
    for item in items {
      let count = item.tensors.reduce(0) { $0 + Double($1.shape.elementCount) }
      switch item.id.role {
      case .embedding: break
      case .head: sum += count * Double(headRows)
      case .expert: sum += count * Double(rows * c.expertsPerToken) / Double(c.expertCount)
      default: sum += count * Double(rows)
      }
    }
    return sum
  }
}

extension TransformerModel {
  /// Multiplications a second of an expert's weights with the activations of many rows, on all threads: tried, in some
  /// tenths of a second for a large model.
  package func multiplicationRate() throws(ModelError) -> Double {
    guard let layer = (0..<configuration.layerCount).first(where: configuration.isMoE) else {
      preconditionFailure("a model has a layer with experts")
    }
    let weights = try weights.expert(layer: layer, expert: 0)
    let expert = GatedMLP(gate: weights.gate, up: weights.up, down: weights.down)
    let (rows, columns, perThread) = (512, configuration.hiddenSize, 2)
    let x = [Float](repeating: 0.5, count: rows * columns)
    let clock = ContinuousClock()
    // The first brings weights and code into memory.
    let times = (0..<3).map { _ in
      clock.measure {
        _ = Parallel.map(count: perThread * compute.threads, threads: compute.threads) { [compute] _ in
          expert.apply(to: x, rows: rows, compute.ofExperts)[0]
        }
      } / .seconds(1)
    }
    let count = 3 * weights.gate.rows * columns * rows * perThread * compute.threads
    return Double(count) / max(times.dropFirst().min() ?? 0, .leastNormalMagnitude)
  }
}

extension WeightSource {
  /// Seconds in which all weights are read once, by how long a few of them take; 0 where these are in memory.
  package func secondsToRead() -> Double {
    var all: [SharedBytes] = []
    for item in items { all += places(of: item) }
    let looked = stride(from: 0, to: all.count, by: max(1, all.count / 16)).map { all[$0] }
    let missing = looked.filter { !$0.isResident && $0.placeInFile != nil }
    let largest = missing.reduce(0) { max($0, $1.byteCount) }
    guard largest > 0 else { return 0 }
    var buffer = AlignedBuffer(byteCount: ReadOnlyFile.bufferByteCount(largest))
    let time = ContinuousClock().measure {
      // What cannot be read is said by whoever needs it.
      for place in missing {
        if let (file, range) = place.placeInFile { _ = try? ReadOnlyFile(file).read(range, into: &buffer) }
      }
    }
    let byteCount = { (places: [SharedBytes]) in Double(places.reduce(0) { $0 + $1.byteCount }) }
    return time / .seconds(1) * byteCount(all) / byteCount(looked)
  }
}
