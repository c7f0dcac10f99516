package import Kernels
package import Models
import Storage
package import Tensors

/// Writes a tensor as a `.npy` file of float32, version 1.0 of NumPy's format.
package enum NumpyFile {
  /// Magic, version, and the dictionary padded so that the elements start at a multiple of 64.
  package static func header(_ shape: Shape) -> [UInt8] {
    let dimensions = shape.dimensions.map(String.init)
    let tuple = dimensions.count == 1 ? "\(dimensions[0])," : dimensions.joined(separator: ", ")
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(tuple)), }"
    let prefixByteCount = 10
    let byteCount = (prefixByteCount + text.utf8.count + 1).roundedUp(to: 64)
    var out = ByteWriter(capacity: byteCount)
    out.append([0x93] + Array("NUMPY".utf8) + [1, 0])
    out.append(UInt16(byteCount - prefixByteCount))
    out.append(text)
    out.append(String(repeating: " ", count: byteCount - out.bytes.count - 1) + "\n")
    return out.bytes
  }

  /// The file appears under its name only when it is whole.
  ///
  /// - Parameters:
  ///   - replaces: whether a file that has the name may be replaced.
  ///   - progress: called with the elements done so far.
  ///   - isInterrupted: asked between pieces.
  package static func write(
    _ tensor: StoredTensor, of model: InspectedModel, to path: String, replaces: Bool = true, kernels: KernelSet,
    progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(InspectionError) {
    let reader = ElementReader(model)
    _ = try reader.requireEncoding(of: tensor)
    let start = header(tensor.shape)
    let file: OutputFile
    do throws(FileError) { file = try OutputFile(path: path, replaces: replaces) } catch { throw .output(error) }
    do throws(FileError) {
      try file.reserve(start.count + 4 * tensor.shape.elementCount)
      try file.write(start.bytes, at: 0)
    } catch { throw .output(error) }
    var values: [Float] = []
    var done = 0
    while done < tensor.shape.elementCount {
      guard !isInterrupted() else { throw .interrupted }
      let piece = try reader.piece(of: tensor, from: done)
      piece.decode(kernels, into: &values)
      let floats = values.span
      let bytes = unsafe floats.bytes
      do throws(FileError) { try file.write(bytes, at: start.count + done * 4) } catch { throw .output(error) }
      done = piece.elements.upperBound
      progress(done)
    }
    try model.requireUnchanged()
    do throws(FileError) { try file.commit() } catch { throw .output(error) }
  }
}
