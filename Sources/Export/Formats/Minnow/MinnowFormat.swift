import Models
import Pack
package import Tensors
import Tokenizers

/// The container of minnow, version 1, with codes in rows (`Formats/export-minnow.md`).
package enum MinnowFormat: ExportFormat {
  package static let name = "minnow"
  package static let engines = "minnow"
  package static let holds =
    "LLaDA2.2: routed experts in int4 or int8 with any groups, each projection of a layer in one encoding; all else plain"
  package static let refuses =
    "models without block routing, a code of -8 under a negative scale (--solver search-positive makes none), experts of one "
    + "projection and layer that are encoded differently, quantized tensors that are no routed experts"
  package static let options: Set<ExportOptions.Key> = []
  package static let encodings: [Encoding] = Encoding.grouped

  package static func isDirectory(_ options: ExportOptions) -> Bool { false }

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    guard source.store.architecture == LLaDA2.self, source.configuration.modelType == MinnowManifest.architecture else {
      throw .refused(.family(profile: nil), format: name)
    }
    guard source.configuration.blockRouting != nil else { throw .refused(.noBlockRouting, format: name) }
    guard source.store.passedThrough.isEmpty else {
      throw .refused(
        .otherParts(count: source.store.passedThrough.count, of: source.store.architecture.otherParts), format: name)
    }
    let checker = SchemeChecker(source: source, format: self)
    try checker.requireHeld(restIsPlain: true)
    for layer in source.mixtureLayers {
      for part in TensorPart.projections {
        _ = try checker.common(
          source.experts(part, layer: layer), scope: "the experts of a projection and layer")
      }
    }
    var manifest = MinnowManifest(
      name: stem(source.outputName) + ".mnw", assets: try assets(source), tensorCount: source.tensors.count)
    for index in source.tensors.indices { manifest.append(index, source.tensors[index], source.encoding(index)) }
    return [try manifest.file()]
  }

  private static func stem(_ name: String) -> String { name.hasSuffix(".mnw") ? String(name.dropLast(4)) : name }

  /// What the engine reads beside the weights, in the order of their names.
  private static func assets(_ source: ExportSource) throws(ExportError) -> [(name: String, text: String)] {
    let files = try source.tokenizerFiles()
    var assets: [(name: String, bytes: [UInt8]?)] = [
      ("chat_template.jinja", ExportSource.chatTemplate(files).map { Array($0.utf8) }),
      ("config.json", try source.configuration(setting: [])),
    ]
    for name in ["generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"] {
      assets.append((name, try source.file(named: name)))
    }
    var texts: [(name: String, text: String)] = []
    for (name, bytes) in assets {
      guard let text = bytes.flatMap({ String(validating: $0, as: UTF8.self) }) else {
        guard bytes == nil, !MinnowManifest.required.contains(name) else {
          throw .refused(.missingFile(name), format: Self.name)
        }
        continue
      }
      texts.append((name, text))
    }
    return texts
  }
}
