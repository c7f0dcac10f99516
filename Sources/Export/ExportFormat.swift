package import Tensors

/// A form in which other engines read a model. Each is a file in `Formats` and a line in ``ExportFormats``.
package protocol ExportFormat: Sendable {
  /// As `--to` names it.
  static var name: String { get }
  /// Who reads it.
  static var engines: String { get }
  /// What of a pack it holds without loss, and what is refused; sentences for people.
  static var holds: String { get }
  static var refuses: String { get }
  /// What `quantize --servable` calls an engine that reads it; nil where a target leads to nothing that it holds.
  static var servable: String? { get }
  /// The options of ``ExportOptions`` that mean something to it.
  static var options: Set<ExportOptions.Key> { get }
  /// What ``ExportOptions/dtype`` may be.
  static var dtypes: [ExportOptions.ElementType] { get }
  /// What routed experts may have, beside plain elements; empty where everything may have any.
  static var encodings: [Encoding] { get }
  /// Whether the output is a directory, rather than one file.
  static func isDirectory(_ options: ExportOptions) -> Bool
  /// Lays out every file to the byte, or refuses what cannot be held.
  static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile]
  /// What a person should know of the result, a sentence each.
  static func notes(_ source: ExportSource) -> [String]
}

extension ExportFormat {
  package static var servable: String? { nil }
  package static var dtypes: [ExportOptions.ElementType] { [] }
  package static func isDirectory(_ options: ExportOptions) -> Bool { true }
  package static func notes(_ source: ExportSource) -> [String] { [] }
}

/// The formats that there are.
package enum ExportFormats {
  package static let all: [any ExportFormat.Type] = [
    SafetensorsFormat.self, CompressedTensorsFormat.self, GGUFFormat.self, MLXFormat.self, GPTQFormat.self,
    MinnowFormat.self,
  ]

  package static func named(_ name: String) -> (any ExportFormat.Type)? { all.first { $0.name == name } }
}

/// What a person may ask of an export.
package struct ExportOptions: Sendable {
  package enum Key: String, Sendable, CaseIterable {
    case dtype, profile
    case shardSize = "shard-size"
    case tensorParallel = "tp"
  }

  package enum ElementType: String, Sendable, CaseIterable {
    case bf16, f16, f32, q8_0
  }

  /// Of elements that are no codes of the pack; nil leaves it to the format.
  package var dtype: ElementType?
  /// Of the names and keys of a GGUF; nil for the one that goes with the model.
  package var profile: GGUFProfile?
  /// Most bytes of tensors in a file; nil leaves it to the format.
  package var shardByteCount: Int?
  /// Devices that share each matrix.
  package var tensorParallel: Int?
  /// What stands as the writer in the result.
  package var tool = "ingot"

  package init() {}
}
