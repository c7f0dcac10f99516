import JSON

/// Text that is equal when its bytes are; Swift's `String` would also equate composed and decomposed letters.
struct ExactText: Hashable, Sendable {
  let text: String
  init(_ text: String) { self.text = text }
  static func == (a: ExactText, b: ExactText) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
  func hash(into hasher: inout Hasher) { for byte in text.utf8 { hasher.combine(byte) } }
}

/// Tokens by id and ids by token, spelled as in the file.
struct Vocabulary: Sendable {
  /// Higher ids are refused: tables are as long as the highest id.
  static var maximumID: Int { 1 << 24 - 1 }

  /// Nil for ids that are skipped.
  private(set) var tokens: [String?] = []
  private var ids: [ExactText: Int32] = [:]

  /// One more than the highest id.
  var count: Int { tokens.count }

  func id(of token: String) -> Int? { ids[ExactText(token)].map { Int($0) } }

  func token(_ id: Int) -> String? { tokens.indices.contains(id) ? tokens[id] : nil }

  /// Adds a token that is not there yet.
  mutating func insert(_ token: String, id: Int, place: TokenizerError.Place) throws(TokenizerError) {
    guard (0...Self.maximumID).contains(id) else { throw .idOutOfRange(place, token: token, id: id) }
    if let other = self.token(id) { throw .repeatedID(place, id: id, first: other, second: token) }
    if id >= tokens.count { tokens += [String?](repeating: nil, count: id + 1 - tokens.count) }
    tokens[id] = token
    ids[ExactText(token)] = Int32(id)
  }

  /// The vocabulary of a BPE model, without added tokens.
  init(_ field: Field) throws(TokenizerError) {
    let members = try field.object().members
    ids.reserveCapacity(members.count)
    tokens.reserveCapacity(members.count)
    for member in members {
      let path = "\(field.path).\(member.key)"
      let place = TokenizerError.Place(file: field.file, path: path, byteOffset: member.byteOffset)
      guard let id = member.value.int else {
        throw .wrongKind(place, expected: "an integer", found: member.value.kind)
      }
      try insert(member.key, id: id, place: place)
    }
  }
}

extension BytePairEncoding {
  /// Reads the `model` of a tokenizer file.
  init(_ model: Field, _ vocabulary: Vocabulary) throws(TokenizerError) {
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = try model.optional(key), try !affix.string().isEmpty { throw affix.unsupported("`\(key)`") }
    }
    if let dropout = try model.optional("dropout"), dropout.value.double != 0 { throw dropout.unsupported("`dropout`") }
    let place = try model.required("vocab").place
    var byteIDs = [Int32](repeating: -1, count: 256)
    for (byte, letter) in ByteAlphabet.letters.enumerated() {
      if let id = vocabulary.id(of: String(letter)) {
        byteIDs[byte] = Int32(id)
      } else if byte != 0xC0, byte != 0xC1, byte < 0xF5 {
        throw .missingByte(place, byte: UInt8(byte))  // the excepted bytes never occur in UTF-8
      }
    }
    var wholeTokens: [[UInt8]: Int32] = [:]
    if try model.flag("ignore_merges") {
      for (id, token) in vocabulary.tokens.enumerated() {
        guard let token else { continue }
        wholeTokens[ByteAlphabet.bytes(of: token)] = Int32(id)
      }
    }
    let merges = try Self.merges(try model.required("merges"), vocabulary)
    self.init(byteIDs: byteIDs, merges: merges, wholeTokens: wholeTokens)
  }

  private static func merges(_ field: Field, _ vocabulary: Vocabulary) throws(TokenizerError) -> MergeTable {
    guard let array = field.value.array else {
      throw .wrongKind(field.place, expected: "an array", found: field.value.kind)
    }
    guard array.count < MergeTable.maximumCount else { throw field.unsupported("a list of \(array.count) merges") }
    var table = MergeTable(capacity: array.count)
    for (rank, value) in array.enumerated() {
      guard let (left, right) = pair(value) else {
        throw .merge(field.place, index: rank, reason: "is neither a pair of strings nor two words in one string")
      }
      guard let leftID = vocabulary.id(of: left) else {
        throw .merge(field.place, index: rank, reason: "joins `\(left)`, which is not in the vocabulary")
      }
      guard let rightID = vocabulary.id(of: right) else {
        throw .merge(field.place, index: rank, reason: "joins `\(right)`, which is not in the vocabulary")
      }
      guard let id = vocabulary.id(of: left + right) else {
        throw .merge(field.place, index: rank, reason: "makes `\(left + right)`, which is not in the vocabulary")
      }
      table.insert(Int32(leftID), Int32(rightID), rank: rank, id: Int32(id))
    }
    return table
  }

  /// `["a", "b"]` as written now, `"a b"` as written by older versions.
  static func pair(_ value: JSONValue) -> (String, String)? {
    if let parts = value.array {
      guard parts.count == 2, let left = parts[0].string, let right = parts[1].string else { return nil }
      return (left, right)
    }
    guard let text = value.string else { return nil }
    let parts = text.unicodeScalars.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
    return (String(parts[0]), String(parts[1]))
  }
}
