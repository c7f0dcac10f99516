import JSON
import Models
import Pack
import Tensors

/// All files of an export, laid out to the byte before any weight is read.
package struct ExportPlan: Sendable {
  package let format: any ExportFormat.Type
  package let source: ExportSource
  package let files: [PlannedFile]
  /// Whether the files stand in a directory; else there is one.
  package let isDirectory: Bool

  /// What tells an export from other directories, and which pack it was made of.
  package static let manifestName = "ingot-export.json"

  /// - Throws: ``ExportError/refused(_:format:)`` where the format cannot hold the pack.
  package init(_ source: ExportSource, as format: any ExportFormat.Type) throws(ExportError) {
    self.format = format
    self.source = source
    isDirectory = format.isDirectory(source.options)
    let files = try format.plan(source)
    self.files = isDirectory ? files + [Self.manifest(source, format, files)] : files
  }

  /// What a person should know of the result, a sentence each.
  package var notes: [String] {
    let hasConfiguration = files.contains { $0.name == "config.json" }
    guard hasConfiguration, (try? source.configurationKeys().contains("auto_map")) ?? false else {
      return format.notes(source)
    }
    return format.notes(source) + [
      "config.json names Python files (`auto_map`), which a pack does not hold; transformers needs them beside it"
    ]
  }

  package var byteCount: Int { files.reduce(0) { $0 + $1.byteCount } }

  /// Bytes of routed experts, and their weights.
  package var experts: (byteCount: Int, parameterCount: Int) {
    var (byteCount, parameterCount) = (0, 0)
    for tensor in source.tensors where tensor.role == .expert { parameterCount += tensor.shape.elementCount }
    for piece in files.lazy.flatMap(\.pieces) {
      let tensor = source.tensors[piece.source]
      guard tensor.role == .expert else { continue }
      byteCount += piece.encoder.byteCount(rows: tensor.shape.rows, columns: tensor.shape.columns)
    }
    return (byteCount, parameterCount)
  }

  /// The hash of a pack that is only planned is known at the end.
  private static func manifest(
    _ source: ExportSource, _ format: any ExportFormat.Type, _ files: [PlannedFile]
  ) -> PlannedFile {
    let tool = source.options.tool
    let sizes: [(key: String, value: JSONValue)] = files.map { ($0.name, JSONValue($0.byteCount)) }
    @Sendable func bytes(_ rootHash: UInt64) -> [UInt8] {
      let manifest: JSONValue = [
        "schema": "ingot.exported/1", "tool": .string(tool), "format": .string(format.name),
        "pack": .string(XXH3.text(rootHash)), "files": SafetensorsFiles.object(sizes),
      ]
      return Array((manifest.text() + "\n").utf8)
    }
    return PlannedFile(
      name: manifestName, byteCount: bytes(0).count, known: [], pieces: [], tensorByteCount: 0,
      seal: .init(hashesPieces: false, byteCount: bytes(0).count) { [(0, bytes($0.rootHash))] })
  }
}
