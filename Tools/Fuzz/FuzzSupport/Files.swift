import Glibc
package import JSON
package import Safetensors
import Storage
import Tensors

/// Where an entry keeps the file that its reader is to read.
package let filePath = "/dev/shm/ingot-fuzz-\(getpid())"

/// Writes what stands at ``filePath``.
package func store(_ bytes: [UInt8]) {
  let descriptor = unsafe open(filePath, O_RDWR | O_CREAT | O_TRUNC, 0o600)
  guard descriptor >= 0, unsafe write(descriptor, bytes, bytes.count) == bytes.count else { fatalError("cannot write") }
  close(descriptor)
}

/// A document, a zero byte and a safetensors file, taken apart, so that document and tensors change without each other. Nil where the
/// document is no JSON; without tensors where their file is refused.
package func split(_ input: [UInt8]) -> (document: JSONValue, tensors: [SafetensorsWriter.Tensor])? {
  let parts = input.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false).map { Array($0) }
  let text = parts[0]
  guard let document = try? JSONParser.parse(text.bytes) else { return nil }
  store(parts.count > 1 ? parts[1] : [])
  guard let file = try? SafetensorsFile(path: filePath) else { return (document, []) }
  let tensors = file.tensors.filter { $0.name != "document" && ($0.dtype.bitCount ?? 1) % 8 == 0 }.map { tensor in
    let bytes = file.bytes(of: tensor).array
    return SafetensorsWriter.Tensor(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape) { bytes }
  }
  return (document, tensors)
}
