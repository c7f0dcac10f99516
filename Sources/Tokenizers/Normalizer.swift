@_spi(_Unicode) import Swift

/// What is done to text before it is cut: nothing, or composition to Unicode's form C.
enum Normalizer: Sendable {
  case none, nfc

  init(_ field: Field?) throws(TokenizerError) {
    self = .none
    guard let field else { return }
    let type = try field.type()
    switch type {
    case "NFC": self = .nfc
    case "Sequence":
      for element in try field.required("normalizers").elements() {
        if case .nfc = try Normalizer(element) { self = .nfc }
      }
    default: throw field.unsupported("normalizer `\(type)`")
    }
  }

  func normalize(_ text: [UInt8]) -> [UInt8] {
    // All of ASCII, and all of Latin-1, is in form C already.
    guard case .nfc = self, text.contains(where: { $0 > 0xC3 }) else { return text }
    var composed = String.UnicodeScalarView()
    // The standard library keeps its normalization under this name; it has no public one outside Foundation.
    composed.append(contentsOf: String(decoding: text, as: UTF8.self)._nfc)
    return Array(String(composed).utf8)
  }
}
