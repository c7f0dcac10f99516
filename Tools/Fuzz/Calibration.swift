import Calibration
import FuzzSupport
import JSON
import Pack
import Safetensors
import Storage
import Tensors

/// A file of states of any bytes is refused with a sentence, or read whole, and then counts the same tokens everywhere.
///
/// If the first byte is 1, the rest is a document, a zero byte and a safetensors file of the other tensors, from which a file is made
/// whose hashes are right, the one in the document where that has `#`; else a whole file.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  if first == 1 {
    guard let (document, tensors) = split(Array(input.dropFirst())) else { return 0 }
    seal(document, tensors)
  } else {
    store(Array(input.dropFirst()))
  }
  do throws(StateError) { check(try CalibrationFile(path: filePath)) } catch {
    if case .broken(let detail, _) = error, detail.isEmpty { fatalError("an error without words") }
  }
  return 0
}

/// Writes the file with the hashes that it must have (`Formats/calibration.md`, sections 1 and 4).
private func seal(_ document: JSONValue, _ tensors: [SafetensorsWriter.Tensor]) {
  let contents = Dictionary(uniqueKeysWithValues: tensors.map { ($0.description.name, $0.bytes()) })
  func hash(_ names: [String]) -> UInt64 {
    var writer = ByteWriter()
    for name in names {
      let bytes = contents[name] ?? []
      writer.append(XXH3.hash(bytes.bytes))
    }
    let hashes = writer.bytes
    return XXH3.hash(hashes.bytes)
  }
  let sizes = document.object?["sizes"]?.object
  let (first, end) = (sizes?["first_dense"]?.int ?? 0, sizes?["layers"]?.int ?? 0)
  let layers = (first..<max(first, end)).prefix(8).map { layer in
    hash(["states", "experts", "weights"].map { "layers.\(layer).\($0)" })
  }
  let dataHash = XXH3.text(hash(["tokens", "places", "classes"]))
  let text = Array(document.text().replacing("#", with: dataHash).utf8)
  guard let shape = Shape([text.count]) else { fatalError("a count") }
  let metadata = [
    (key: "ingot.calibration", value: "1"), ("ingot.document_xxh3", XXH3.text(XXH3.hash(text.bytes))),
    ("ingot.layers_xxh3", layers.map(XXH3.text).joined()),
  ]
  let all = tensors + [SafetensorsWriter.Tensor(name: "document", dtype: .u8, shape: shape) { text }]
  do { try SafetensorsWriter.write(all, metadata: metadata, to: filePath) } catch {
    fatalError("cannot write: \(error)")
  }
}

private func check(_ file: CalibrationFile) {
  let (rows, slots) = (file.document.rows, file.document.sizes.slots)
  guard file.classCounts.values.reduce(0, +) == rows else { fatalError("rows of no class") }
  for coverage in file.coverage() {
    guard let states = try? file.layer(coverage.layer) else { continue }
    let users = states.users(expertCount: file.document.sizes.experts)
    guard states.rowCount == rows, coverage.tokens.reduce(0, +) == rows * slots, users.map(\.count) == coverage.tokens
    else { fatalError("counts of layer \(coverage.layer) differ") }
  }
}
