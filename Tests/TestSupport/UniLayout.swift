package import JSON
import Safetensors
import Storage
package import Tensors

/// A checkpoint laid out as LLaDA2.0-Uni is: under names of its own, experts stacked, more rows in the vocabulary, and beside it
/// tensors of a part that sees.
package struct UniLayout {
  /// Rows of embedding and head behind those of text.
  package var extraRows = 0
  package var others: [(name: String, dtype: DType, dimensions: [Int])] = [
    ("model.vision_tower.patch_embed.weight", .f16, [8, 3, 2, 2]),
    ("model.vision_tower.layers.0.self_attn.norm.weight", .f32, [24]),
  ]
  /// Keys of `config.json` that are set.
  package var configChanges: [String: JSONValue] = [:]

  package init() {}

  /// The name that a tensor of LLaDA2 has here, if it is none of a routed expert.
  package static func name(_ name: String) -> String {
    name.hasPrefix("lm_head.") ? "model." + name : "model.language_model." + name.dropFirst("model.".count)
  }

  /// Numbers of the other parts; they depend on the name alone.
  package static func numbers(_ name: String, byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ name.utf8.count) & 0x3B }
  }

  /// Writes the trained checkpoint `model` anew.
  package func write(_ model: String, to directory: String) throws {
    try makeDirectory(directory)
    let source = Trained.checkpoint(model)
    var tensors: [SafetensorsWriter.Tensor] = []
    func add(_ name: String, _ dtype: DType, _ dimensions: [Int], _ bytes: [UInt8]) {
      guard let shape = Shape(dimensions) else { fatalError("a test's shape") }
      tensors.append(.init(name: name, dtype: dtype, shape: shape) { bytes })
    }
    var stacks: [String: [(expert: Int, entry: TensorEntry, bytes: [UInt8])]] = [:]
    for file in try Checkpoint(directory: source).files {
      for entry in file.tensors {
        let bytes = file.bytes(of: entry).array
        let words = entry.name.split(separator: ".")
        if words.count == 8, words[4] == "experts", let expert = Int(words[5]) {
          let name = Self.name((words[..<5] + words[6...6]).joined(separator: "."))
          stacks[name, default: []].append((expert, entry, bytes))
        } else if entry.name == "lm_head.weight" || entry.name == "model.word_embeddings.weight" {
          let rowByteCount = bytes.count / entry.shape.rows
          // Embeddings like the first, scores of zero.
          let row =
            entry.name.hasPrefix("model.") ? Array(bytes[..<rowByteCount]) : .init(repeating: 0, count: rowByteCount)
          add(
            Self.name(entry.name), entry.dtype, [entry.shape.rows + extraRows, entry.shape.columns],
            bytes + Array(repeating: row, count: extraRows).flatMap { $0 })
        } else {
          add(Self.name(entry.name), entry.dtype, entry.shape.dimensions, bytes)
        }
      }
    }
    for (name, experts) in stacks {
      let entry = experts[0].entry
      add(
        name, entry.dtype, [experts.count] + entry.shape.dimensions,
        experts.sorted { $0.expert < $1.expert }.flatMap(\.bytes))
    }
    for other in others {
      add(
        other.name, other.dtype, other.dimensions,
        Self.numbers(other.name, byteCount: other.dimensions.reduce(1, *) * other.dtype.byteCount))
    }
    try SafetensorsWriter.write(tensors, to: directory + "/model.safetensors")

    let text = String(decoding: try contents(of: source + "/config.json"), as: UTF8.self)
    var config = JSONObject()
    for member in try JSONParser.parse(text).object?.members ?? [] {
      switch member.key {
      case "model_type": config.append(.init(key: member.key, value: "llada2_moe_veomni"))
      case "vocab_size":
        config.append(.init(key: member.key, value: JSONValue((member.value.int ?? 0) + extraRows)))
        config.append(.init(key: "image_token_offset", value: member.value))
      default: if configChanges[member.key] == nil { config.append(member) }
      }
    }
    for (key, value) in configChanges.sorted(by: { $0.key < $1.key }) { config.append(.init(key: key, value: value)) }
    try TestSupport.write(Array(JSONValue.object(config).text().utf8), to: directory + "/config.json")
    for name in listing(of: source) where name.hasSuffix(".json") || name.hasSuffix(".jinja") {
      guard name != "config.json", !name.contains("safetensors") else { continue }
      try TestSupport.write(try contents(of: "\(source)/\(name)"), to: "\(directory)/\(name)")
    }
  }
}
