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
  package static let dtypes: [ExportOptions.ElementType] = [.bf16, .f32]
  package static let encodings: [Encoding] = Encoding.grouped

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    let isExact = source.options.dtype == .f32
    let dtype = isExact ? DType.f32 : .bf16
    let groups = try source.groups { index in
      let tensor = source.tensors[index]
      return [
        OutputTensor(
          tensor.name, dtype, tensor.shape.dimensions, index, DecodedElements(dtype: dtype),
          of: tensor.shape)
      ]
    }
    // Loaders convert to the type that the configuration names, and would round what is exact here.
    let isTold = isExact && source.tensors.contains { $0.type.isGrouped }
    let keys = try source.configurationKeys().filter { $0 == "torch_dtype" || $0 == "dtype" }
    return SafetensorsFiles.plan(groups, format: "pt", source.options)
      + (try source.checkpointFiles(isTold ? keys.map { ($0, "float32") } : []))
  }
}
