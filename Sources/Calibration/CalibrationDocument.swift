package import JSON
package import Models
import Pack
import Storage

/// What states are of, and how they were made: the document of `Formats/calibration.md`, section 4.
package struct CalibrationDocument: Sendable, Equatable {
  package struct Sizes: Sendable, Equatable {
    package let layers: Int
    /// Layers below have no experts.
    package let firstDense: Int
    package let hidden: Int
    package let experts: Int
    /// Experts of a token.
    package let slots: Int

    package init(_ configuration: ModelConfiguration) {
      layers = configuration.layerCount
      firstDense = configuration.firstDenseLayers
      hidden = configuration.hiddenSize
      experts = configuration.expertCount
      slots = configuration.expertsPerToken
    }

    init(layers: Int, firstDense: Int, hidden: Int, experts: Int, slots: Int) {
      (self.layers, self.firstDense, self.hidden) = (layers, firstDense, hidden)
      (self.experts, self.slots) = (experts, slots)
    }
  }

  /// The hash of the checkpoint, as a drift report names it.
  package let modelHash: UInt64
  package let modelType: String
  /// Whether the decoder edits what it has written: LLaDA2.1 and 2.2.
  package let edits: Bool
  package let blockLength: Int
  package let mask: Int
  /// ``NoisyCopies/ratios``.
  package let ratios: [Double]
  package let seed: UInt64
  package let sizes: Sizes
  package let texts: Int
  package let rows: Int
  package let parts: [CalibrationMix.Part]
  /// The hash of tokens, places and classes.
  package let dataHash: UInt64

  package init(
    modelHash: UInt64, _ configuration: ModelConfiguration, edits: Bool, copies: NoisyCopies,
    parts: [CalibrationMix.Part]
  ) {
    self.modelHash = modelHash
    modelType = configuration.modelType
    self.edits = edits
    blockLength = copies.blockLength
    mask = copies.mask
    ratios = copies.ratios
    seed = copies.seed
    sizes = Sizes(configuration)
    texts = copies.texts.count
    rows = copies.rowCount
    self.parts = parts
    dataHash = CalibrationLayout.dataHash(copies)
  }

  static let schema = "ingot.calibration/1"

  private static func text(_ hash: UInt64) -> JSONValue { .string(XXH3.text(hash)) }

  package var json: JSONValue {
    [
      "schema": JSONValue(Self.schema), "model": ["type": JSONValue(modelType), "hash": Self.text(modelHash)],
      "sizes": [
        "layers": JSONValue(sizes.layers), "first_dense": JSONValue(sizes.firstDense),
        "hidden": JSONValue(sizes.hidden), "experts": JSONValue(sizes.experts), "slots": JSONValue(sizes.slots),
      ], "options": options, "data": data,
    ]
  }

  private var options: JSONValue {
    [
      "edits": JSONValue(edits), "block_length": JSONValue(blockLength), "mask": JSONValue(mask),
      "mask_ratios": .array(ratios.map { JSONValue($0) }), "seed": JSONValue(seed),
    ]
  }

  private var data: JSONValue {
    [
      "hash": Self.text(dataHash), "texts": JSONValue(texts), "rows": JSONValue(rows),
      "sources": .array(
        parts.map {
          [
            "name": JSONValue($0.name), "available": JSONValue($0.available), "texts": JSONValue($0.texts),
            "rows": JSONValue($0.rows),
          ]
        }),
    ]
  }

  /// As it stands in a pack's provenance: the same whether states came from a file or from a pass.
  package var provenance: JSONValue { ["options": options, "data": data] }

  /// Nil where a member is missing or is not what it must be.
  package init?(_ value: JSONValue) {
    guard let document = value.object, document["schema"]?.string == Self.schema,
      let model = document["model"]?.object, let type = model["type"]?.string,
      let hash = model["hash"]?.string.flatMap(XXH3.parse), let sizes = document["sizes"]?.object,
      let layers = sizes["layers"]?.int, let dense = sizes["first_dense"]?.int, let hidden = sizes["hidden"]?.int,
      let experts = sizes["experts"]?.int, let slots = sizes["slots"]?.int,
      let options = document["options"]?.object, let edits = options["edits"]?.bool,
      let blockLength = options["block_length"]?.int, let mask = options["mask"]?.int,
      let ratios = options["mask_ratios"]?.array?.compactMap(\.double),
      ratios == NoisyCopies.maskRatios || ratios.isEmpty && blockLength == 1,
      case .number(let seedText)? = options["seed"], let seed = UInt64(seedText),
      let data = document["data"]?.object, let dataHash = data["hash"]?.string.flatMap(XXH3.parse),
      let texts = data["texts"]?.int, let rows = data["rows"]?.int, let list = data["sources"]?.array,
      (1...(1 << 10)).contains(layers), (0...layers).contains(dense), (1...(1 << 20)).contains(hidden),
      (1...(1 << 16)).contains(experts), (1...experts).contains(slots), blockLength > 0, texts > 0,
      (1..<(1 << 31)).contains(rows)  // so that no size of a tensor, nor their sum, is beyond 64 bits
    else { return nil }
    var parts: [CalibrationMix.Part] = []
    for item in list {
      guard let part = item.object, let name = part["name"]?.string, let available = part["available"]?.int,
        let texts = part["texts"]?.int, let rows = part["rows"]?.int
      else { return nil }
      parts.append(.init(name: name, available: available, texts: texts, rows: rows))
    }
    (modelHash, modelType, self.edits) = (hash, type, edits)
    (self.blockLength, self.mask, self.ratios, self.seed) = (blockLength, mask, ratios, seed)
    self.sizes = Sizes(layers: layers, firstDense: dense, hidden: hidden, experts: experts, slots: slots)
    (self.texts, self.rows, self.parts, self.dataHash) = (texts, rows, parts, dataHash)
  }

  /// Layers with experts.
  package var layers: Range<Int> { sizes.firstDense..<sizes.layers }
}
