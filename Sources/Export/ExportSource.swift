import JSON
package import Models
package import Pack
import Storage
import Tensors
import Tokenizers

/// A pack to be exported, and how.
package struct ExportSource: Sendable {
  package let store: ModelStore
  package let pack: PackFile
  package let options: ExportOptions
  /// The last part of the output's name, for files that are called by it.
  package let outputName: String

  /// Opens a pack.
  package init(path: String, outputName: String, options: ExportOptions) throws(ExportError) {
    do throws(ModelError) { store = try ModelStore(path: path) } catch { throw .model(error) }
    guard case .pack(let pack) = store.files else { throw .pack(.notFound("provenance.json", path: path)) }
    self.pack = pack
    self.options = options
    self.outputName = outputName
    for tensor in store.tensors where tensor.type.encoding == nil {
      guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
      throw .pack(
        .unknownEncoding(id: record.encodingID, groupSize: record.groupSize, tensor: tensor.name, path: path))
    }
  }

  /// All tensors, in the order of the forward pass; what an export is made of names them by their places here.
  package var tensors: [StoredTensor] { store.tensors }

  package var configuration: ModelConfiguration { store.configuration }

  /// How a tensor is stored.
  func encoding(_ index: Int) -> Encoding {
    guard let encoding = tensors[index].type.encoding else { preconditionFailure("looked at when it was opened") }
    return encoding
  }

  /// Where a tensor of the model is among all.
  func place(of id: TensorID) -> Int {
    guard let place = store.place(of: id) else { preconditionFailure("the store found all of its items") }
    return place
  }

  /// The layers with experts.
  var mixtureLayers: [Int] { (0..<configuration.layerCount).filter(configuration.isMoE) }

  /// The places of a projection of all experts of a layer.
  func experts(_ part: TensorPart, layer: Int) -> [Int] {
    (0..<configuration.expertCount).map { place(of: TensorID(.expert, part, layer: layer, expert: $0)) }
  }

  /// A file that came with the model; nil where there is none.
  func file(named name: String) throws(ExportError) -> [UInt8]? {
    do throws(ModelError) { return try store.files.file(named: name) } catch { throw .model(error) }
  }

  private func configurationObject() throws(ExportError) -> JSONObject {
    do throws(PackError) { return try pack.object(named: SourceFile.name(inPack: "config.json")) } catch {
      throw .pack(error)
    }
  }

  /// The keys of `config.json`.
  func configurationKeys() throws(ExportError) -> [String] { try configurationObject().members.map(\.key) }

  /// `config.json` with some members set: in the place of what has the name, or at the end. What the source said of its own
  /// quantized weights is left out.
  func configuration(setting changes: [(key: String, value: JSONValue)]) throws(ExportError) -> [UInt8] {
    let object = try configurationObject()
    var changed = JSONObject()
    for member in object.members {
      let change = changes.first { $0.key == member.key }?.value
      if change == nil, QuantizationConfiguration.keys.contains(member.key) { continue }
      changed.append(.init(key: member.key, value: change ?? member.value))
    }
    for (key, value) in changes { changed.append(.init(key: key, value: value)) }
    return Array((JSONValue.object(changed).text() + "\n").utf8)
  }

  /// The files of a tokenizer that are there.
  func tokenizerFiles() throws(ExportError) -> [TokenizerError.File: [UInt8]] {
    var files: [TokenizerError.File: [UInt8]] = [:]
    for file in TokenizerError.File.allCases { files[file] = try self.file(named: file.rawValue) }
    return files
  }

  /// The text of the chat template, from the file of its own if there is one.
  static func chatTemplate(_ files: [TokenizerError.File: [UInt8]]) -> String? {
    if let bytes = files[.template] { return String(validating: bytes, as: UTF8.self) }
    guard let config = files[.config], let object = (try? JSONParser.parse(config.bytes))?.object,
      let value = object["chat_template"]
    else { return nil }
    if let text = value.string { return text }
    return value.array?.first { $0.object?["name"] == "default" }?.object?["template"]?.string
  }
}
