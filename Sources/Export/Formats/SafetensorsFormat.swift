import JSON
import Models
package import Tensors

/// A checkpoint as published, with every quantized tensor decoded (`Formats/export-safetensors.md`).
package enum SafetensorsFormat: ExportFormat {
  package static let name = "safetensors"
  package static let engines = "everything that reads the published checkpoint"
  package static let holds = "every pack; f32 exactly, bf16 with one rounding of each quantized weight"
  package static let refuses = "nothing"
  package static let options: Set<ExportOptions.Key> = [.dtype, .shardSize]
  package static let encodings: [Encoding] = Encoding.grouped

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    let dtype = source.options.dtype
    let groups = try source.groups { index in
      let tensor = source.tensors[index]
      return [
        OutputTensor(
          tensor.name, dtype, tensor.shape.dimensions, index, DecodedElements(isRounded: dtype == .bf16),
          of: tensor.shape)
      ]
    }
    // Loaders convert to the type that the configuration names, and would round what is exact here.
    let isExact = dtype == .f32 && source.tensors.contains { $0.type.isGrouped }
    let keys = try source.configurationKeys().filter { $0 == "torch_dtype" || $0 == "dtype" }
    return SafetensorsFiles.plan(groups, format: "pt", source.options)
      + (try source.checkpointFiles(isExact ? keys.map { ($0, "float32") } : []))
  }
}
