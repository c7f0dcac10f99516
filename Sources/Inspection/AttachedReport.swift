package import JSON
import Pack

/// The drift report in a pack (`Formats/pack.md` §7.1). Whoever attached it may have written anything, so it is looked at
/// with care and never stands in the way of the pack.
package struct AttachedReport: Sendable {
  /// The document; nil where it cannot be read.
  package let document: JSONObject?
  /// Why it cannot be read; nil if all is well.
  package let problem: String?
  /// The root hash of the pack without the report: what a report about it names.
  package let rootHash: UInt64

  /// The report of a pack; nil where there is none.
  init?(_ pack: PackFile, files: [InspectedModel.EmbeddedFile], rootHash: UInt64) {
    guard let file = files.first(where: { $0.name == FileRecord.driftReport }) else { return nil }
    self.rootHash = rootHash
    var document: JSONObject?
    do throws(PackError) {
      let bytes = try pack.file(named: file.name)
      document = Self.parse(bytes)
      problem = document == nil ? "it is no JSON object" : nil
    } catch {
      switch error {
      case .broken(let violation, _): problem = "rule \(violation.rule.rawValue) is broken: \(violation.detail)"
      default: problem = "it cannot be read"
      }
    }
    self.document = document
  }

  private static func parse(_ bytes: [UInt8]) -> JSONObject? {
    (try? unsafe JSONParser.parse(bytes.span.bytes))?.object
  }

  /// What the report calls the pack that it is about, if anything.
  package var namedHash: String? { document?["candidate"]?.object?["hash"]?.string }

  /// Whether it is about this pack.
  package var isAboutThisPack: Bool { namedHash == XXH3.text(rootHash) }
}
