import Glibc
import Safetensors
import Storage
import Tensors
import TestSupport

/// A file: the header's JSON with its length in front, then data.
func fileBytes(_ json: String, data: Int = 0) -> [UInt8] { fileBytes(Array(json.utf8), data: data) }

func fileBytes(_ json: [UInt8], data: Int = 0) -> [UInt8] {
  var writer = ByteWriter()
  writer.append(UInt64(json.count))
  writer.append(json)
  writer.zeros(data)
  return writer.bytes
}

/// The JSON of one entry.
func entry(_ name: String, _ dtype: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
  #""\#(name)":{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":[\#(begin),\#(end)]}"#
}

/// Two tensors and metadata, padded; 12 bytes of data.
let smallHeader =
  #"{"__metadata__":{"format":"pt"},"# + entry("a", "F32", "[2]", 0, 8) + ","
  + entry("b", "BF16", "[1,2]", 8, 12) + "}   "

/// Parses the header of a whole file in memory.
func parse(_ file: [UInt8], fileByteCount: Int? = nil) throws(SafetensorsError) -> SafetensorsHeader {
  let bytes = file.bytes
  return try SafetensorsHeader.parse(header: bytes, fileByteCount: fileByteCount ?? file.count, path: "memory")
}

/// Writes a safetensors file of int8 tensors with the given names and sizes.
func writeShard(_ tensors: [(name: String, byteCount: Int)], to path: String) throws {
  try SafetensorsWriter.write(
    tensors.map { tensor in
      SafetensorsWriter.Tensor(name: tensor.name, dtype: .i8, shape: Shape(rows: 1, columns: tensor.byteCount)) {
        [UInt8](repeating: 7, count: tensor.byteCount)
      }
    }, to: path)
}

/// Files shared between the working copies of the project, beside it or where `INGOT_SHARED` says.
let sharedDirectory: String = {
  if let named = unsafe getenv("INGOT_SHARED") { return unsafe String(cString: named) }
  return #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/../shared"
}()
