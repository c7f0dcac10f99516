import Kernels
import Models
import Pack
import Storage
import Tensors

/// Where everything lies in a container, and the digests that are known at the end.
struct MinnowManifest: Sendable {
  static let architecture = "llada2_moe"
  /// Assets that the engine does not do without.
  static let required: Set<String> = ["chat_template.jinja", "config.json", "tokenizer.json"]
  private static let magic = "MINNOW01"
  private static let alignment = 4096
  private static let limit = 128 << 20

  private struct Region: Sendable {
    let offset: Int
    let byteCount: Int
  }

  private struct Tensor: Sendable {
    let name: String
    let shape: [Int]
    let encoding: String
    let groupSize: Int
    /// One or, with scales, two, which are pieces of the file in the same order.
    let regions: [Region]
    let firstPiece: Int
  }

  /// Of the file.
  private let name: String
  private let assets: [(name: String, text: String)]
  private var tensors: [Tensor] = []
  private var pieces: [Piece] = []
  private var end = MinnowManifest.alignment
  private var tensorByteCount = 0

  init(name: String, assets: [(name: String, text: String)], tensorCount: Int) {
    self.name = name
    self.assets = assets
    tensors.reserveCapacity(tensorCount)
    pieces.reserveCapacity(2 * tensorCount)
  }

  /// - Parameter index: of the tensor in its source.
  mutating func append(_ index: Int, _ tensor: StoredTensor, _ encoding: Encoding) {
    let label: String
    let encoders: [any TensorEncoder]
    if let codes = encoding.codes {
      label = codes.code == .int4 ? "i4_sym" : "i8_sym"
      encoders = [SignedCodes(code: codes.code), PositiveScales(groupSize: encoding.groupSize)]
    } else {
      guard let dtype = encoding.dtype else { preconditionFailure("an encoding with neither codes nor elements") }
      label = dtype.description
      encoders = [StoredElements(byteWidth: dtype.byteCount)]
    }
    let firstPiece = pieces.count
    let regions = encoders.map { encoder in
      let region = Region(
        offset: end, byteCount: encoder.byteCount(rows: tensor.shape.rows, columns: tensor.shape.columns))
      pieces.append(Piece(source: index, encoder: encoder, offset: end))
      tensorByteCount += region.byteCount
      end = (end + region.byteCount).roundedUp(to: Self.alignment)
      return region
    }
    tensors.append(
      Tensor(
        name: tensor.name, shape: tensor.shape.dimensions, encoding: label, groupSize: encoding.groupSize,
        regions: regions, firstPiece: firstPiece))
  }

  /// The whole file.
  func file() throws(ExportError) -> PlannedFile {
    let byteCount = bytes([]).count
    guard byteCount <= Self.limit else {
      throw .refused(.manifest(byteCount: byteCount, limit: Self.limit), format: MinnowFormat.name)
    }
    let manifest = self
    return PlannedFile(
      name: name, byteCount: end + byteCount, known: [], pieces: pieces, tensorByteCount: tensorByteCount,
      seal: .init(hashesPieces: true, byteCount: byteCount) { manifest.sealed($0.digests) })
  }

  /// The manifest, and the header that holds its digest.
  private func sealed(_ digests: [BLAKE3.Digest]) -> [(offset: Int, bytes: [UInt8])] {
    let bytes = bytes(digests)
    var header = ByteWriter(capacity: 64)
    header.append(Self.magic)
    for number in [end, bytes.count, end + bytes.count] { header.append(UInt64(number)) }
    header.append(BLAKE3.hash(bytes.bytes).bytes)
    return [(end, bytes), (0, header.bytes)]
  }

  /// - Parameter digests: of the pieces; empty where only the length is asked for.
  private func bytes(_ digests: [BLAKE3.Digest]) -> [UInt8] {
    var out = MessagePack(capacity: assets.reduce(0) { $0 + $1.text.utf8.count } + 384 * tensors.count + 1024)
    out.map(5)
    out.append("version")
    out.append(1)
    out.append("architecture")
    out.append(Self.architecture)
    // What a model is called is not in its pack, and the name of the output must not change the bytes.
    out.append("model_id")
    out.append(Self.architecture)
    out.append("assets")
    out.map(assets.count)
    for (name, text) in assets {
      out.append(name)
      out.append(text)
    }
    out.append("tensors")
    out.map(tensors.count)
    for tensor in tensors.sorted(by: { $0.name.utf8Precedes($1.name) }) {
      out.append(tensor.name)
      append(tensor, digests, to: &out)
    }
    return out.bytes
  }

  private func append(_ tensor: Tensor, _ digests: [BLAKE3.Digest], to out: inout MessagePack) {
    out.map(3 + tensor.regions.count)
    out.append("shape")
    out.array(tensor.shape.count)
    for dimension in tensor.shape { out.append(dimension) }
    out.append("encoding")
    out.append(tensor.encoding)
    for (number, region) in tensor.regions.enumerated() {
      let piece = tensor.firstPiece + number
      out.append(number == 0 ? "data" : "scales")
      out.map(3)
      out.append("offset")
      out.append(region.offset)
      out.append("bytes")
      out.append(region.byteCount)
      out.append("blake3")
      out.append((piece < digests.count ? digests[piece] : .unknown).text)
    }
    out.append("group_size")
    out.append(tensor.groupSize)
  }
}
