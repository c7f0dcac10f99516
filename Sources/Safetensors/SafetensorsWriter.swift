import Storage
package import Tensors

/// Writes safetensors files in the layout of the published checkpoints: records of drift, goldens, small checkpoints.
package enum SafetensorsWriter {
  /// A tensor and where its bytes come from; asked for when it is its turn.
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
  /// - Parameters:
  ///   - metadata: for `__metadata__`, in this order.
  ///   - replaces: whether a file that has the name may be replaced.
  /// - Throws: `system` when the file cannot be created or written.
  package static func write(
    _ tensors: [Tensor], metadata: [(key: String, value: String)] = [("format", "pt")], to path: String,
    replaces: Bool = true
  ) throws(SafetensorsError) {
    let header = SafetensorsHeader.build(tensors: tensors.map(\.description), metadata: metadata)
    do throws(FileError) {
      let output = try OutputFile(path: path, replaces: replaces)
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
