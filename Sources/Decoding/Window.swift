import Models

/// Runs passes for the block under work, with or without keys and values of finished blocks (llada2.md §4.7).
///
/// Exact either way: under the block-causal mask nothing before the block depends on it. What must not be kept is what a
/// denoising pass wrote, since it saw masks: a finished block goes through the model once more.
struct Window {
  private let model: LLaDA2Model
  private let blockLength: Int
  private let usesCache: Bool
  private let cache: KeyValueCache
  /// Positions whose keys and values are final.
  private var finished = 0

  init(model: LLaDA2Model, blockLength: Int, usesCache: Bool) {
    self.model = model
    self.blockLength = blockLength
    self.usesCache = usesCache
    cache = KeyValueCache(model.configuration)
  }

  /// - Returns: the block's rows (block length, hidden) after the final norm.
  mutating func forward(_ canvas: [Int], block: Int, taps: LLaDA2Model.Taps) throws(ModelError) -> [Float] {
    let start = usesCache ? finished : 0
    let end = (block + 1) * blockLength
    let segment = LLaDA2Model.Segment(tokens: Array(canvas[start..<end]), start: start, cache: cache)
    let hidden = try model.hiddenStates([segment], blockLength: blockLength, taps: taps)
    return Array(hidden.suffix(blockLength * model.configuration.hiddenSize))
  }

  /// Makes the blocks below `count` final with one more pass; false if nothing had to be done.
  mutating func finish(_ canvas: [Int], through count: Int) throws(ModelError) -> Bool {
    let end = count * blockLength
    guard usesCache, end > finished else { return false }
    let segment = LLaDA2Model.Segment(tokens: Array(canvas[finished..<end]), start: finished, cache: cache)
    try model.writeCache(segment, blockLength: blockLength)
    finished = end
    return true
  }

  /// The last pass saw the final tokens already.
  mutating func accept(through count: Int) { if usesCache { finished = count * blockLength } }
}
