import Kernels
import Storage
import Tensors

/// The layers of LLaDA2 and its relatives in fp32 (`Formats/llada2.md` §3, `sdar.md` §3, `ling.md` §3); ``LayerWalk`` takes rows through them. It reads straight down;
/// shapes are in comments, with T rows of all sequences together, H hidden, nh query heads, nkv key-value heads, D head dimension.
package final class TransformerModel: Sendable {
  /// Rows of one sequence that go through the model together.
  package struct Segment {
    package let tokens: [Int]
    /// Position of the first token. Keys and values of earlier positions are in the cache.
    package let start: Int
    package let cache: KeyValueCache

    package init(tokens: [Int], start: Int, cache: KeyValueCache) {
      self.tokens = tokens
      self.start = start
      self.cache = cache
    }
  }

  /// What a pass may be asked to tell.
  package struct Taps {
    /// Called with 0 and the embeddings, then with i and the hidden state (T, H) after i layers; the last one also after the
    /// final norm.
    package var hidden: ((Int, [Float]) -> Void)?
    /// Called with the layer and the route of each row.
    package var routes: ((Int, [Router.Route]) -> Void)?
    /// Called with the layer and what its router says of each row, (T, experts), before they are made scores.
    package var routerLogits: ((Int, [Float]) -> Void)?
    /// Called with a matrix and what it is multiplied with, (T, columns): the matrices of attention, the router, whose input the
    /// experts share, the gate (and so up) and down matrices of dense layers and shared experts.
    package var inputs: ((TensorID, [Float]) -> Void)?
    /// Called when a part of a layer is done, to tell where the time goes.
    package var done: ((Part) -> Void)?
    package init(hidden: ((Int, [Float]) -> Void)? = nil, routes: ((Int, [Router.Route]) -> Void)? = nil) {
      self.hidden = hidden
      self.routes = routes
    }
  }

  /// What a layer consists of, its norms and sums with what follows or precedes them.
  package enum Part: String, Sendable, CaseIterable {
    case queryKeyValue, attention, attentionOutput, denseMLP, router, sharedExperts, routedExperts
  }

  private struct Layer: Sendable {
    let inputNorm: RMSNorm
    /// One matrix, or those of queries, keys and values.
    let queryKeyValue: [Matrix]
    let queryKeyValueBias: [Float]?
    let queryNorm: RMSNorm?
    let keyNorm: RMSNorm?
    let dense: Matrix
    let denseBias: [Float]?
    let postAttentionNorm: RMSNorm
    let mlp: MLP
  }
  private enum MLP: Sendable {
    case dense(GatedMLP)
    case experts(MixtureOfExperts)
  }

  package let configuration: ModelConfiguration
  package let weights: any WeightSource
  package let compute: Compute
  private let layers: [Layer]
  private let embedding: Matrix
  private let finalNorm: RMSNorm
  private let head: Matrix
  private let rotary: RotaryTable
  private let attention: Attention

  /// Looks up every matrix; reads norms and biases.
  ///
  /// - Throws: ``ModelError`` when a tensor is missing or broken.
  package init(_ weights: any WeightSource, compute: Compute) throws(ModelError) {
    let c = weights.configuration
    configuration = c
    self.weights = weights
    self.compute = compute
    let reader = LayerReader(weights: weights, compute: compute, epsilon: Float(c.rmsNormEpsilon))
    let headID = TensorID(.head, .weight)
    embedding = try weights.matrix(TensorID(.embedding, .weight))
    finalNorm = try reader.norm(.final)
    head = c.tiesWordEmbeddings && !weights.hasTensor(headID) ? embedding : try weights.matrix(headID)
    rotary = RotaryTable(theta: c.ropeTheta, dimension: c.rotaryDimension)
    attention = Attention(
      headCount: c.headCount, keyValueHeadCount: c.keyValueHeadCount, headDimension: c.headDimension)
    var layers: [Layer] = []
    for index in 0..<c.layerCount {
      let isNormed = weights.hasTensor(TensorID(.norm, .query, layer: index))
      layers.append(
        Layer(
          inputNorm: try reader.norm(.input, index),
          queryKeyValue: try reader.queryKeyValue(index),
          queryKeyValueBias: c.usesQKVBias ? try reader.vector(TensorID(.bias, .queryKeyValue, layer: index)) : nil,
          queryNorm: isNormed ? try reader.norm(.query, index) : nil,
          keyNorm: isNormed ? try reader.norm(.key, index) : nil,
          dense: try weights.matrix(TensorID(.attention, .output, layer: index)),
          denseBias: c.usesBias ? try reader.vector(TensorID(.bias, .output, layer: index)) : nil,
          postAttentionNorm: try reader.norm(.postAttention, index),
          mlp: c.isMoE(layer: index)
            ? .experts(try reader.experts(index)) : .dense(try reader.mlp(.denseMLP, index))))
    }
    self.layers = layers
  }

  /// The final norm, on (rows, H) in place.
  package func normalize(_ hidden: inout [Float]) { finalNorm.apply(to: &hidden, threads: compute.threads) }

  /// Scores of the vocabulary for the token that each row predicts: the one at its position, or the next
  /// (``Conventions/Prediction``).
  ///
  /// - Parameter hidden: (rows, H), after the final norm.
  /// - Returns: (rows, vocabulary).
  package func logits(_ hidden: [Float]) -> [Float] {
    compute.product(head, hidden, tokens: hidden.count / configuration.hiddenSize)
  }

  /// Rows of the embedding, (T, H). No scaling, no norm.
  package func embed(_ segments: [Segment]) -> [Float] {
    segments.flatMap { $0.tokens.flatMap { compute.row($0, of: embedding) } }
  }

  /// One layer for all segments; `hidden` (T, H) is changed in place.
  ///
  /// - Parameters:
  ///   - replayed: by row, where the experts of this layer shall be in place of what its router says.
  ///   - readAhead: is told where the run is; without one, experts are asked for when they are known.
  ///   - room: the same for all layers of a walk.
  package func advance(
    _ hidden: inout [Float], through index: Int, _ segments: [Segment], blockLength: Int, taps: Taps = Taps(),
    replaying replayed: [Router.Route]? = nil, readAhead: ReadAhead? = nil, room: ExpertRoom = ExpertRoom()
  ) throws(ModelError) {
    readAhead?.reached(layer: index)
    let layer = layers[index]
    let rows = segments.reduce(0) { $0 + $1.tokens.count }

    // attention: r = h; h = r + dense(attention(norm(h)))
    var x = hidden
    layer.inputNorm.apply(to: &x, threads: compute.threads)
    taps.inputs?(TensorID(.attention, configuration.projections[0].part, layer: index), x)
    var projected = Self.joined(compute.products(layer.queryKeyValue, x, tokens: rows), rows: rows)
    if let bias = layer.queryKeyValueBias { add(bias, to: &projected) }
    taps.done?(.queryKeyValue)
    let attended = attend(&projected, rows, index, layer, segments, blockLength)  // (T, nh·D)
    taps.inputs?(TensorID(.attention, .output, layer: index), attended)
    taps.done?(.attention)
    add(compute.product(layer.dense, attended, tokens: rows), bias: layer.denseBias, to: &hidden)
    taps.done?(.attentionOutput)

    // feed-forward: r = h; h = r + mlp(norm(h)); routed and shared experts get the same normed input
    x = hidden
    layer.postAttentionNorm.apply(to: &x, threads: compute.threads)
    switch layer.mlp {
    case .dense(let gated):
      taps.inputs?(TensorID(.denseMLP, .gate, layer: index), x)
      let output = gated.apply(to: x, rows: rows, compute) { inner in
        taps.inputs?(TensorID(.denseMLP, .down, layer: index), inner)
      }
      add(output, bias: nil, to: &hidden)
      taps.done?(.denseMLP)
    case .experts(let experts):
      var end = 0
      let places = segments.map { segment in
        defer { end += segment.tokens.count }
        return (rows: end..<end + segment.tokens.count, start: segment.start)
      }
      taps.inputs?(TensorID(.router, .weight, layer: index), x)
      let logits = experts.logits(x, rows: rows, compute)
      taps.routerLogits?(index, logits)
      let routes = replayed ?? experts.routes(logits, segments: places, compute)
      taps.routes?(index, routes)
      taps.done?(.router)
      if experts.shared != nil { taps.inputs?(TensorID(.sharedExpert, .gate, layer: index), x) }
      var output =
        experts.shared?.apply(to: x, rows: rows, compute) {
          taps.inputs?(TensorID(.sharedExpert, .down, layer: index), $0)
        }
        ?? [Float](repeating: 0, count: x.count)
      taps.done?(.sharedExperts)
      try experts.add(of: x, routes, to: &output, weights: weights, readAhead: readAhead, room: room, compute: compute)
      add(output, bias: nil, to: &hidden)
      taps.done?(.routedExperts)
    }
  }

  /// Side by side what several matrices gave, each (rows, …).
  private static func joined(_ parts: [[Float]], rows: Int) -> [Float] {
    guard parts.count > 1 else { return parts[0] }
    var joined: [Float] = []
    joined.reserveCapacity(parts.reduce(0) { $0 + $1.count })
    for row in 0..<rows {
      for part in parts {
        let width = part.count / rows
        joined += part[row * width..<(row + 1) * width]
      }
    }
    return joined
  }

  /// - Parameter projected: (T, (nh + 2·nkv)·D): all query heads, then all key heads, then all value heads; queries and keys
  ///   are normalised and turned in place.
  /// - Returns: (T, nh·D).
  private func attend(
    _ projected: inout [Float], _ rows: Int, _ index: Int, _ layer: Layer, _ segments: [Segment], _ blockLength: Int
  ) -> [Float] {
    let c = configuration
    let queryWidth = c.headCount * c.headDimension
    let keyWidth = c.keyValueHeadCount * c.headDimension
    let width = queryWidth + 2 * keyWidth
    turn(&projected, positions: segments.flatMap { $0.start..<$0.start + $0.tokens.count }, width: width, layer)
    var starts = [0]
    for segment in segments { starts.append(starts[starts.count - 1] + segment.tokens.count) }
    nonisolated(unsafe) let all = segments  // whose caches are changed by one thread each
    let attend = { @Sendable [attention, projected, starts] (number: Int, compute: Compute) -> [Float] in
      let segment = unsafe all[number]
      let count = segment.tokens.count
      let first = starts[number]
      var output: [Float] = []
      segment.cache.update(layer: index, positions: segment.start + count, as: compute.keyValues) { cached in
        for row in 0..<count {
          let place = (segment.start + row) * c.headDimension
          for head in 0..<c.keyValueHeadCount {
            let key = (first + row) * width + queryWidth + head * c.headDimension
            let value = key + keyWidth
            cached.keys[head].write(projected[key..<key + c.headDimension], at: place)
            cached.values[head].write(projected[value..<value + c.headDimension], at: place)
          }
        }
        output = attention.apply(
          queries: projected.span.extracting((first * width)...), stride: width, rows: count, layer: cached,
          start: segment.start, blockLength: blockLength, compute: compute)
      }
      return output
    }
    guard segments.count > 1 else { return segments.isEmpty ? [] : attend(0, compute) }
    // What a segment writes, the next of the same cache may read.
    let size = { (group: [Int]) in group.reduce(0) { $0 + segments[$1].tokens.count } }
    let groups = Dictionary(grouping: segments.indices) { ObjectIdentifier(segments[$0].cache) }
      .values.sorted { size($0) > size($1) }
    // Threads take whole sequences where there are enough of them, the longest first.
    let isApart = groups.count >= 2 * compute.threads
    let answers =
      isApart
      ? Parallel.map(count: groups.count, threads: compute.threads) { [compute] in
        groups[$0].map { attend($0, compute.alone) }
      }
      : groups.map { $0.map { attend($0, compute) } }
    var output = [[Float]](repeating: [], count: segments.count)
    for (group, answers) in zip(groups, answers) {
      for (number, answer) in zip(group, answers) { output[number] = answer }
    }
    return Array(output.joined())
  }

  /// Norm of each head of queries and keys, then its rotation; values are left alone.
  ///
  /// - Parameter positions: of the rows.
  private func turn(_ projected: inout [Float], positions: [Int], width: Int, _ layer: Layer) {
    let c = configuration
    let angles = rotary.angles(positions: (positions.max() ?? 0) + 1)
    var all = projected.mutableSpan
    Parallel.pieces(of: &all, length: width, threads: compute.threads, minimum: 4) { row, heads in
      for head in 0..<(c.headCount + c.keyValueHeadCount) {
        let channel = head * c.headDimension
        (head < c.headCount ? layer.queryNorm : layer.keyNorm)?.apply(to: &heads, at: channel)
        angles.rotate(&heads, at: channel, position: positions[row])
      }
    }
  }

  /// target += rows + bias
  private func add(_ rows: [Float], bias: [Float]?, to target: inout [Float]) {
    let width = configuration.hiddenSize
    var all = target.mutableSpan
    Parallel.pieces(of: &all, length: width, threads: compute.threads, minimum: 64) { row, own in
      let added = rows.span.extracting(row * width..<(row + 1) * width)
      for channel in 0..<width { own[channel] += added[channel] }
    }
    if let bias { add(bias, to: &target) }
  }

  /// Adds the bias to each row of its width.
  private func add(_ bias: [Float], to rows: inout [Float]) {
    for index in rows.indices { rows[index] += bias[index % bias.count] }
  }
}

/// Reads the parts of a layer.
private struct LayerReader {
  let weights: any WeightSource
  let compute: Compute
  let epsilon: Float

  /// Norms and biases: few numbers that all rows go through, so that what is not finite is found before any work.
  func vector(_ id: TensorID) throws(ModelError) -> [Float] { compute.row(0, of: try finite(id)) }

  /// A matrix in which everything is finite; of a quantized one, its scales.
  private func finite(_ id: TensorID) throws(ModelError) -> Matrix {
    let matrix = try weights.matrix(id)
    for block in matrix.blocks {
      let content = block.content
      let bytes = content.bytes
      let found: Int? =
        switch WeightFormat(matrix.encoding) {
        case .float(let format): compute.kernels.firstNotFinite(bytes.extracting(block.codes), source: format)
        case .codes(let format) where format.scale == .byte: nil  // each of them is finite
        case .codes:
          compute.kernels.firstNotFinite(bytes.extracting(block.scales), source: .bf16)
            .map { $0 * matrix.encoding.groupSize }
        }
      guard let found else { continue }
      throw .notFinite(name: matrix.name, element: block.rows.lowerBound * matrix.columns + found, path: weights.path)
    }
    return matrix
  }

  func norm(_ part: TensorPart, _ layer: Int? = nil) throws(ModelError) -> RMSNorm {
    RMSNorm(weight: try vector(TensorID(.norm, part, layer: layer)), epsilon: epsilon)
  }

  func queryKeyValue(_ layer: Int) throws(ModelError) -> [Matrix] {
    var matrices: [Matrix] = []
    for (part, _) in weights.configuration.projections {
      matrices.append(try weights.matrix(TensorID(.attention, part, layer: layer)))
    }
    return matrices
  }

  func mlp(_ role: TensorRole, _ layer: Int) throws(ModelError) -> GatedMLP {
    GatedMLP(
      gate: try weights.matrix(TensorID(role, .gate, layer: layer)),
      up: try weights.matrix(TensorID(role, .up, layer: layer)),
      down: try weights.matrix(TensorID(role, .down, layer: layer)))
  }

  func experts(_ layer: Int) throws(ModelError) -> MixtureOfExperts {
    let c = weights.configuration
    let bias =
      c.conventions.hasRouterBias
      ? try vector(TensorID(.router, .bias, layer: layer)) : [Float](repeating: 0, count: c.expertCount)
    return MixtureOfExperts(
      layer: layer, gate: try finite(TensorID(.router, .weight, layer: layer)), router: Router(c, bias: bias),
      shared: c.sharedIntermediateSize > 0 ? try mlp(.sharedExpert, layer) : nil)
  }
}
