package import Models

/// What predicts the blocks of one sequence, one after the other: a model behind a ``ModelBlockPredictor``.
package protocol BlockPredictor {
  /// One pass for the block under work.
  ///
  /// - Parameters:
  ///   - offsets: in the block.
  ///   - canvas: the whole sequence; what follows the block is not looked at.
  /// - Returns: scores (offsets, vocabulary), and by MoE layer and row of the pass the experts chosen, if asked for.
  mutating func predict(
    _ offsets: [Int], block: Int, in canvas: [Int], recordsExperts: Bool
  ) throws(ModelError) -> (logits: [Float], experts: [[[Int]]])

  /// Makes the blocks below `count` final with one more pass; false if nothing had to be done.
  mutating func finish(_ canvas: [Int], through count: Int) throws(ModelError) -> Bool

  /// Makes them final as the last pass saw them.
  mutating func accept(through count: Int)
}

/// Runs passes for the block under work, with or without keys and values of finished blocks (llada2.md §4.7).
///
/// A model that predicts the next token has blocks of one, whose scores are in the row before: passes end so many rows earlier.
///
/// Exact either way: under the block-causal mask nothing before the block depends on it. What must not be kept is what a
/// denoising pass wrote, since it saw masks: a finished block goes through the model once more.
struct ModelBlockPredictor: BlockPredictor {
  private let model: TransformerModel
  private let blockLength: Int
  private let usesCache: Bool
  private let cache: KeyValueCache
  private let isInterrupted: () -> Bool
  /// How many positions before a token its scores are.
  private let lead: Int
  /// Positions whose keys and values are final.
  private var finished = 0

  /// - Parameter positions: that the sequence will have, where that is known.
  init(
    model: TransformerModel, blockLength: Int, usesCache: Bool, positions: Int = 0,
    isInterrupted: @escaping () -> Bool = { false }
  ) {
    self.isInterrupted = isInterrupted
    self.model = model
    self.blockLength = blockLength
    lead = model.configuration.conventions.prediction.lead
    self.usesCache = usesCache
    cache = KeyValueCache(model.configuration, positions: positions)
  }

  /// Where the rows end that the blocks below `count` need.
  private func end(of count: Int) -> Int { count * blockLength - lead }

  /// The rows of a pass over what is not final, up to the last that a block needs.
  ///
  /// - Parameter count: of the blocks that it sees.
  func segment(of canvas: [Int], through count: Int) -> TransformerModel.Segment {
    let start = usesCache ? finished : 0
    return TransformerModel.Segment(tokens: Array(canvas[start..<end(of: count)]), start: start, cache: cache)
  }

  /// Whether a pass must be made before the blocks below `count` count as final.
  func needsPass(through count: Int) -> Bool { usesCache && end(of: count) > finished }

  mutating func predict(
    _ offsets: [Int], block: Int, in canvas: [Int], recordsExperts: Bool
  ) throws(ModelError) -> (logits: [Float], experts: [[[Int]]]) {
    var experts: [[[Int]]] = []
    var taps = TransformerModel.Taps()
    if recordsExperts { taps.routes = { _, routes in experts.append(routes.map(\.experts)) } }
    let segment = segment(of: canvas, through: block + 1)
    let hidden = try model.hiddenStates(  // (rows, H)
      [segment], blockLength: blockLength, taps: taps, isInterrupted: isInterrupted)
    let width = model.configuration.hiddenSize
    let first = hidden.count - blockLength * width
    let rows = offsets.flatMap { hidden[first + $0 * width..<first + ($0 + 1) * width] }
    return (model.logits(Array(rows)), experts)
  }

  mutating func finish(_ canvas: [Int], through count: Int) throws(ModelError) -> Bool {
    guard needsPass(through: count) else { return false }
    try model.writeCache(
      segment(of: canvas, through: count), blockLength: blockLength, isInterrupted: isInterrupted)
    accept(through: count)
    return true
  }

  mutating func accept(through count: Int) { if usesCache { finished = end(of: count) } }
}
