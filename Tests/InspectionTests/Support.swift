import Inspection
import JSON
import Kernels
import Models
import Pack
import Safetensors
import Storage
import Tensors
import TestSupport

let kernels = KernelSet.best

/// A tensor written as it is: planes given byte by byte.
struct RawTensor {
  let name: String
  let shape: Shape
  let encoding: Encoding
  /// Codes or elements, then scales.
  let planes: [[UInt8]]
  var errors = PackAssembler.TensorErrors()
}

func shape(_ dimensions: Int...) -> Shape { Shape(dimensions)! }

func floatBytes(_ values: [Float]) -> [UInt8] {
  var out = ByteWriter()
  for value in values { out.append(value) }
  return out.bytes
}

func bf16Bytes(_ values: [Float]) -> [UInt8] {
  var out = ByteWriter()
  for value in values { out.append(BFloat16.narrow(value)) }
  return out.bytes
}

/// A pack of small tensors, a chunk each.
func writePack(_ tensors: [RawTensor], config: String = "{}", to path: String) throws {
  let items = tensors.map { tensor in
    PackPlan.Item.tensor(
      .init(name: tensor.name, shape: tensor.shape, encoding: tensor.encoding, sourceEncoding: .f32))
  }
  let plan = try PackPlan(
    items,
    files: [
      .init(name: "source/config.json", bytes: Array(config.utf8)),
      .init(name: "provenance.json", bytes: Array("{\"schema\": 1}".utf8)),
    ])
  var writer = try PackWriter(path: path, plan: plan)
  let codec = ChunkCodec()
  for (tensor, chunk) in zip(tensors, plan.chunks) {
    var content = AlignedBuffer(byteCount: chunk.layout.byteCount)
    for (plane, range) in zip(tensor.planes, chunk.layout.planes[0]) {
      var bytes = content.mutableBytes
      bytes.write(plane.bytes, at: range.lowerBound)
    }
    try writer.append(codec.encode(content, tailOffset: chunk.layout.tailOffset))
  }
  try writer.finish(errors: tensors.map(\.errors), codec: codec).commit()
}

/// A safetensors file of float32 vectors and matrices.
func writeFloats(_ tensors: [(name: String, shape: Shape, values: [Float])], to path: String) throws {
  try SafetensorsWriter.write(
    tensors.map { tensor in
      .init(name: tensor.name, dtype: .f32, shape: tensor.shape) { floatBytes(tensor.values) }
    }, to: path)
}

/// A trained checkpoint of 3.5 MB.
let pico = {
  let file = #filePath
  return file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    + "/Fixtures/pico"
}()
