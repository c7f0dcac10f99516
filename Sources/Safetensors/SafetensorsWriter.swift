package import Tensors

/// Writes safetensors files in the layout of the published checkpoints; for tests, goldens and small checkpoints.
package enum SafetensorsWriter {
  /// A tensor and where its bytes come from; asked for once, when it is its turn.
  package struct Tensor {
    package let description: TensorDescription
    package let bytes: () -> [UInt8]

    /// - Parameter bytes: gives the elements, little-endian, exactly as many as dtype and shape need.
    package init(name: String, dtype: DType, shape: Shape, bytes: @escaping () -> [UInt8]) {
      description = TensorDescription(name: name, dtype: dtype, shape: shape)
      self.bytes = bytes
    }
  }

  /// Writes the file; it appears under `path` only when whole.
  ///
  /// - Throws: `system` when the file cannot be created or written.
  package static func write(_ tensors: [Tensor], to path: String) throws(SafetensorsError) {
    let header = SafetensorsHeader.build(tensors: tensors.map(\.description))
    do throws(FileError) {
      let output = try OutputFile(path: path)
      try output.write(header.bytes, at: 0)
      var position = header.count
      for tensor in tensors.sorted(by: { SafetensorsHeader.inFileOrder($0.description, $1.description) }) {
        let bytes = tensor.bytes()
        precondition(bytes.count == tensor.description.byteCount, "a tensor's bytes do not fit its dtype and shape")
        try output.write(bytes.bytes, at: position)
        position += bytes.count
      }
      try output.commit()
    } catch {
      throw SafetensorsError(error)
    }
  }
}
