import Safetensors
import Storage
import Tensors

/// What the header reader accepts covers the data exactly; what it refuses has a sentence.
///
/// The first byte chooses between a whole file, length and all, and a header alone whose length and data are made to
/// fit, so that the fuzzer need not guess eight bytes right.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  var file = Array(input.dropFirst())
  var fileByteCount = file.count
  if first != 0 {
    var writer = ByteWriter()
    writer.append(UInt64(file.count))
    writer.append(file)
    file = writer.bytes
    fileByteCount = file.count + Int(first) - 1
  }
  check(file, fileByteCount)
  return 0
}

private func check(_ file: [UInt8], _ fileByteCount: Int) {
  let bytes = file.bytes
  do throws(SafetensorsError) {
    let header = try SafetensorsHeader.parse(header: bytes, fileByteCount: fileByteCount, path: "fuzz")
    var end = header.byteCount
    for tensor in header.tensors {
      guard tensor.byteRange.lowerBound == end, tensor.byteRange.upperBound <= fileByteCount,
        tensor.byteRange.count
          == tensor.dtype.byteCount(elements: tensor.shape.elementCount) ?? tensor.byteRange.count,
        header[tensor.name] == tensor, file[tensor.headerOffset] == UInt8(ascii: "\"")
      else { fatalError("accepted wrongly: \(tensor)") }
      end = tensor.byteRange.upperBound
    }
    guard end == fileByteCount else { fatalError("bytes \(end) to \(fileByteCount) belong to no tensor") }
    rebuild(header)
  } catch {
    guard !error.message.isEmpty, (error.byteOffset ?? 0) <= file.count || error.rule == .trailingBytes else {
      fatalError("an error without a place: \(error)")
    }
  }
}

/// The writer's header for the same tensors is accepted too, where they are of types that it writes.
private func rebuild(_ header: SafetensorsHeader) {
  guard header.tensors.allSatisfy({ $0.dtype.bitCount.map { $0 % 8 == 0 } ?? false }) else { return }
  let tensors = header.tensors.map { TensorDescription(name: $0.name, dtype: $0.dtype, shape: $0.shape) }
  let built = SafetensorsHeader.build(tensors: tensors)
  let bytes = built.bytes
  let fileByteCount = built.count + tensors.reduce(0) { $0 + $1.byteCount }
  guard let again = try? SafetensorsHeader.parse(header: bytes, fileByteCount: fileByteCount, path: "fuzz"),
    again.tensors.count == tensors.count
  else { fatalError("the writer's header is refused") }
}
