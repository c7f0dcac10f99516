package import Models

/// A text that states are taken on: some of its positions may be masked, the others, such as a prompt, never are.
package struct CalibrationText: Sendable, Equatable {
  package let tokens: [Int]
  package let maskable: Range<Int>

  package init(tokens: [Int], maskable: Range<Int>) {
    precondition(!maskable.isEmpty && maskable.lowerBound >= 0 && maskable.upperBound <= tokens.count)
    self.tokens = tokens
    self.maskable = maskable
  }
}

/// What a token state stands for in decoding.
package enum StateClass: UInt8, Sendable, CaseIterable {
  /// In a finished block.
  case clean = 0
  /// In the block that is being denoised, and already there.
  case visible = 1
  /// Where a token is predicted: a mask; of a model that predicts the next token, any.
  case masked = 2
}

/// Texts as diffusion decodes from them: of each, noisy copies whose blocks see themselves and the clean blocks before them, and
/// the clean copy (`Formats/calibration.md`, section 3). One row for each position of each copy. Of texts for a model that predicts
/// the next token there is the clean copy alone, whose rows all predict.
package struct NoisyCopies: Sendable {
  /// ``ratios`` for a model that denoises blocks.
  package static let maskRatios = [0.25, 0.5, 0.75, 1]

  /// ``ratios`` for a model that predicts in this way.
  package static func ratios(for prediction: Conventions.Prediction) -> [Double] {
    prediction == .next ? [] : maskRatios
  }

  package let texts: [CalibrationText]
  /// Shares of the maskable positions that are masked, by copy; the clean copy follows.
  package let ratios: [Double]
  package let blockLength: Int
  package let mask: Int
  package let seed: UInt64
  /// By row, after masking.
  package private(set) var tokens: [Int32] = []
  /// By row: text, copy, position.
  package private(set) var places: [Int32] = []
  package private(set) var classes: [UInt8] = []
  /// By text, its first row; then how many rows there are.
  private var starts = [0]

  package init(
    _ texts: [CalibrationText], blockLength: Int, mask: Int, seed: UInt64, ratios: [Double] = NoisyCopies.maskRatios
  ) {
    precondition(blockLength > 0)
    self.texts = texts
    self.ratios = ratios
    self.blockLength = blockLength
    self.mask = mask
    self.seed = seed
    for (index, text) in texts.enumerated() {
      let noisy = Self.noisy(text, blockLength: blockLength)
      for copy in ratios.indices { for position in noisy { add(text, index, copy, position) } }
      for position in text.tokens.indices { add(text, index, ratios.count, position) }
      starts.append(tokens.count)
    }
  }

  package var rowCount: Int { tokens.count }

  private mutating func add(_ text: CalibrationText, _ index: Int, _ copy: Int, _ position: Int) {
    let isNoisy = copy < ratios.count
    let isMasked = isNoisy && text.maskable.contains(position) && isDrawn(index, copy, position)
    tokens.append(Int32(isMasked ? mask : text.tokens[position]))
    places += [Int32(index), Int32(copy), Int32(position)]
    classes.append((isMasked || ratios.isEmpty ? StateClass.masked : isNoisy ? .visible : .clean).rawValue)
  }

  /// Positions that a noisy copy has: whole blocks with something that may be masked.
  private static func noisy(_ text: CalibrationText, blockLength: Int) -> Range<Int> {
    let first = text.maskable.lowerBound / blockLength * blockLength
    let end = (text.maskable.upperBound + blockLength - 1) / blockLength * blockLength
    return first..<min(end, text.tokens.count)
  }

  /// Rows that a text comes to.
  package static func rowCount(of text: CalibrationText, blockLength: Int, ratios: [Double]) -> Int {
    ratios.count * noisy(text, blockLength: blockLength).count + text.tokens.count
  }

  /// Whether a maskable position is masked: a number drawn from (seed, text, copy, position) is below the copy's ratio.
  private func isDrawn(_ text: Int, _ copy: Int, _ position: Int) -> Bool {
    let drawn = [text, copy, position].reduce(seed) { counterMix($0 ^ counterMix(UInt64($1))) } >> 40
    return Double(drawn) < ratios[copy] * Double(1 << 24)
  }

  /// Texts that go through a layer together, and the rows that they are.
  package struct Tile {
    package var segments: [TransformerModel.Segment] = []
    /// By row of the segments, its place among ``rows``.
    package var order: [Int] = []
    package var rows: Range<Int>
  }

  /// Texts one after the other, as many to a tile as have so many rows, at least one. Which rows come together decides how
  /// products are rounded, so nothing but the texts may decide that.
  package func tiles(_ configuration: ModelConfiguration, rowLimit: Int = NoisyCopies.tileRows) -> [Tile] {
    var tiles: [Tile] = []
    for (index, text) in texts.enumerated() {
      let rows = starts[index]..<starts[index + 1]
      if let last = tiles.last, last.rows.count + rows.count <= rowLimit {
        tiles[tiles.count - 1].rows = last.rows.lowerBound..<rows.upperBound
      } else {
        tiles.append(Tile(rows: rows))
      }
      add(text, rows, to: &tiles[tiles.count - 1], configuration)
    }
    return tiles
  }

  /// Rows of a tile: enough for products with each expert, few enough for the memory that they take.
  package static var tileRows: Int { 2048 }

  /// The clean copy writes its keys and values first. Noisy blocks follow from the last to the first: each writes over those of
  /// its own block, which none behind it sees.
  private func add(
    _ text: CalibrationText, _ rows: Range<Int>, to tile: inout Tile, _ configuration: ModelConfiguration
  ) {
    let cache = KeyValueCache(configuration)
    let noisy = Self.noisy(text, blockLength: blockLength)
    let first = rows.lowerBound - tile.rows.lowerBound
    func add(copy: Int, _ positions: Range<Int>) {
      let own = first + copy * noisy.count + positions.lowerBound - (copy < ratios.count ? noisy.lowerBound : 0)
      let from = tile.rows.lowerBound + own
      tile.segments.append(
        .init(
          tokens: tokens[from..<from + positions.count].map { Int($0) }, start: positions.lowerBound, cache: cache))
      tile.order += own..<own + positions.count
    }
    add(copy: ratios.count, text.tokens.indices)
    for start in stride(from: noisy.lowerBound, to: noisy.upperBound, by: blockLength).reversed() {
      for copy in ratios.indices { add(copy: copy, start..<min(start + blockLength, noisy.upperBound)) }
    }
  }
}
