import Glibc
import JSON
import Safetensors
import Storage
import Tensors
import TestSupport

// Copies of the checkpoint pico in which something is different.

/// A directory in which all files of pico lie, by links, but for some.
func linkPico(_ directory: String, except names: Set<String> = []) throws {
  try makeDirectory(directory)
  for name in listing(of: pico) where name != "." && name != ".." && !names.contains(name) {
    guard unsafe symlink("\(pico)/\(name)", "\(directory)/\(name)") == 0 else { throw TestFailure("no link \(name)") }
  }
}

/// Pico with another text in one of its files.
func changePico(_ directory: String, _ name: String, _ change: (String) -> String) throws {
  try linkPico(directory, except: [name])
  let text = String(decoding: try contents(of: "\(pico)/\(name)"), as: UTF8.self)
  try write(Array(change(text).utf8), to: "\(directory)/\(name)")
}

/// Pico with keys of `config.json` set, or removed where nil.
func configurePico(_ directory: String, _ changes: [String: JSONValue?]) throws {
  try changePico(directory, "config.json") { text in
    var object = JSONObject()
    for member in (try? JSONParser.parse(text))?.object?.members ?? [] where changes[member.key] == nil {
      object.append(member)
    }
    for (key, value) in changes.sorted(by: { $0.key < $1.key }) {
      if let value { object.append(.init(key: key, value: value)) }
    }
    return JSONValue.object(object).text()
  }
}

/// A tensor as it lies in a file, of any type.
struct RawTensor {
  var name: String
  var dtype: String
  var shape: [Int]
  var bytes: [UInt8]
}

/// All tensors of pico, in the order of its shards.
func picoTensors() throws -> [RawTensor] {
  let checkpoint = try Checkpoint(directory: pico)
  return checkpoint.files.flatMap { file in
    file.tensors.map { tensor in
      RawTensor(
        name: tensor.name, dtype: tensor.dtype.name, shape: tensor.shape.dimensions, bytes: file.bytes(of: tensor).array
      )
    }
  }
}

/// Writes a safetensors file byte for byte as it is asked for.
///
/// - Parameters:
///   - metadata: JSON of `__metadata__`; nil leaves it out.
///   - order: names in the order of the data; the header keeps that of the tensors.
func writeSafetensors(
  _ tensors: [RawTensor], to path: String, metadata: String? = #"{"format":"pt"}"#, order: [String]? = nil
) throws {
  var offsets: [String: Int] = [:]
  var data: [UInt8] = []
  let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
  for name in order ?? tensors.map(\.name) {
    offsets[name] = data.count
    data += byName[name]?.bytes ?? []
  }
  let entries = tensors.map { tensor in
    let start = offsets[tensor.name] ?? 0
    return #""\#(tensor.name)":{"dtype":"\#(tensor.dtype)","shape":\#(tensor.shape),"#
      + #""data_offsets":[\#(start),\#(start + tensor.bytes.count)]}"#
  }
  let header = "{" + ((metadata.map { ["\"__metadata__\":\($0)"] } ?? []) + entries).joined(separator: ",") + "}"
  var writer = ByteWriter()
  writer.append(UInt64(header.utf8.count))
  try write(writer.bytes + Array(header.utf8) + data, to: path)
}

/// Pico with other weights: everything in one file.
func rewritePico(
  _ directory: String, metadata: String? = #"{"format":"pt"}"#, order: [String]? = nil,
  _ change: (inout [RawTensor]) -> Void = { _ in }
) throws {
  try linkPico(directory, except: Set(listing(of: pico).filter { $0.contains("safetensors") }))
  var tensors = try picoTensors()
  change(&tensors)
  try writeSafetensors(tensors, to: "\(directory)/model.safetensors", metadata: metadata, order: order)
}

let question = "What is 60 + 23?"

/// What pico says to ``question``.
let picosAnswer = try? ingot(["run", pico, "-q", "-p", question], in: "/tmp").out
