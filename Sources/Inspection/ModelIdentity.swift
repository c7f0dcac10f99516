package import Models
import Pack
import Safetensors
import Storage
import Tensors

/// Which model it is, and how large: `reference` and `candidate` of `Formats/drift-report.md` §2. A pack has the same one
/// with a drift report and without.
package struct ModelIdentity: Sendable {
  package let path: String
  package let kind: ModelFiles.Kind
  package let hash: UInt64
  package let byteCount: Int
  package let bitsPerWeight: Double?
  /// Encodings of the routed experts, sorted.
  package let experts: [String]

  /// Bytes of a checkpoint's data that are looked at.
  private static let sampledByteCount = 64 << 20
  private static let page = 4096
  /// Pages that are read at a time.
  private static let sampleWindow = 512

  package init(_ model: InspectedModel) {
    path = model.path
    kind = model.kind
    byteCount = model.headerWithoutReport?.fileLength ?? model.fileByteCount
    let tensors = model.published?.tensors ?? model.tensors
    let parameters = tensors.reduce(0) { $0 + $1.shape.elementCount }
    bitsPerWeight = parameters > 0 ? 8 * Double(byteCount) / Double(parameters) : nil
    experts = Set(tensors.filter { $0.role == .expert }.map { "\($0.type)" }).sorted()
    hash = model.headerWithoutReport?.rootHash ?? Self.hash(of: model)
  }

  /// XXH3 of the XXH3 of each file's name, length, header and every n-th page: all of a small checkpoint, 64 MiB of a
  /// large one.
  private static func hash(of model: InspectedModel) -> UInt64 {
    let pages = model.fileByteCount / page + 1
    let stride = max(1, pages * page / sampledByteCount)
    var hashes: [UInt64] = []
    for shard in model.shards.sorted(by: { $0.name < $1.name }) {
      let name = Array(shard.name.utf8)
      hashes.append(unsafe XXH3.hash(name.span.bytes))
      hashes.append(UInt64(shard.file.byteCount))
      let file = shard.file
      let bytes = file.bytes
      hashes.append(XXH3.hash(bytes.extracting(0..<shard.headerByteCount)))
      let samples = Swift.stride(from: shard.headerByteCount, to: bytes.byteCount, by: page * stride).map {
        $0..<min(bytes.byteCount, $0 + page)
      }
      for (index, sample) in samples.enumerated() {
        // Asked for by themselves and many at a time: the system reads megabytes around a page that it meets unasked,
        // which would be all of the file.
        if index % sampleWindow == 0 {
          for next in samples[index..<min(samples.count, index + sampleWindow)] { file.willNeed(next) }
        }
        hashes.append(XXH3.hash(bytes.extracting(sample)))
      }
    }
    return unsafe XXH3.hash(hashes.span.bytes)
  }
}
