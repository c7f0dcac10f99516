import Models
import Pack
import Tensors

/// What must be alike where a format says it once for several tensors.
enum Scheme: Equatable {
  case plain(Encoding)
  /// How scales are stored in the pack makes no difference: every format has its own.
  case codes(Encoding.Code, groupSize: Int)

  init(_ encoding: Encoding) {
    if let codes = encoding.codes {
      self = .codes(codes.code, groupSize: encoding.groupSize)
    } else {
      self = .plain(encoding)
    }
  }

  var codes: (code: Encoding.Code, groupSize: Int)? {
    if case .codes(let code, let groupSize) = self { (code, groupSize) } else { nil }
  }
}

/// Looks at what a format can hold before anything is laid out.
struct SchemeChecker {
  let source: ExportSource
  let format: any ExportFormat.Type

  private func refuse(_ refusal: ExportRefusal) -> ExportError { .refused(refusal, format: format.name) }

  /// The encoding that the format has and that is nearest to one that it lacks: with as many bits, if any, and groups as near.
  private func nearest(to encoding: Encoding) -> Encoding {
    let c = source.configuration
    let fitting = format.encodings.filter {
      $0.divides(columns: c.hiddenSize) && $0.divides(columns: c.expertIntermediateSize)
    }
    func distance(_ other: Encoding) -> (Int, Int, Int) {
      (
        abs(other.codeBits - encoding.codeBits), abs(other.groupSize - max(encoding.groupSize, 32)),
        other.kind == encoding.kind ? 0 : 1
      )
    }
    return (fitting.isEmpty ? format.encodings : fitting).min { distance($0) < distance($1) } ?? encoding
  }

  /// Refuses encodings that the format lacks, and where `restIsPlain` quantized tensors that are no routed experts.
  func requireHeld(restIsPlain: Bool) throws(ExportError) {
    for (index, tensor) in source.tensors.enumerated() {
      let encoding = source.encoding(index)
      guard encoding.isGrouped else { continue }
      guard !restIsPlain || tensor.role == .expert else { throw refuse(.quantized(tensor: tensor.name, encoding)) }
      guard format.encodings.contains(encoding) else {
        throw refuse(.encoding(tensor: tensor.name, encoding, instead: nearest(to: encoding)))
      }
      guard !restIsPlain || tensor.record?.chunkCount == 1 else { throw refuse(.cut(tensor: tensor.name)) }
    }
  }

  /// The scheme that some tensors share.
  ///
  /// - Parameters:
  ///   - scope: for the message: "all experts of a layer".
  ///   - byGroup: whether group sizes must be alike, too.
  func common(_ indices: [Int], scope: String, byGroup: Bool = true) throws(ExportError) -> Scheme {
    func scheme(_ index: Int) -> Scheme {
      let scheme = Scheme(source.encoding(index))
      guard !byGroup, let codes = scheme.codes else { return scheme }
      return .codes(codes.code, groupSize: 32)
    }
    let first = scheme(indices[0])
    if let other = indices.first(where: { scheme($0) != first }) {
      let (a, b) = (source.tensors[indices[0]], source.tensors[other])
      let grouped = [source.encoding(indices[0]), source.encoding(other)].filter(\.isGrouped)
      throw refuse(
        .mixed(
          .init(
            first: a.name, firstType: a.type, other: b.name, otherType: b.type, scope: scope,
            instead: nearest(to: grouped.min { $0.codeBits < $1.codeBits } ?? source.encoding(other)))))
    }
    return first
  }

  /// The scheme of each layer with experts: all of a layer share one.
  func byLayer() throws(ExportError) -> [(layer: Int, scheme: Scheme)] {
    var schemes: [(layer: Int, scheme: Scheme)] = []
    for layer in source.mixtureLayers {
      let experts = TensorPart.projections.flatMap { source.experts($0, layer: layer) }
      schemes.append((layer, try common(experts, scope: "all experts of a layer")))
    }
    guard schemes.contains(where: { $0.scheme.codes != nil }) else { throw refuse(.nothingQuantized) }
    return schemes
  }

  /// Each of the devices that share the matrices of an expert gets whole groups, and 64 columns at least, the tile of the kernels.
  func requireTensorParallel(_ schemes: [Scheme]) throws(ExportError) {
    guard let devices = source.options.tensorParallel else { return }
    let width = source.configuration.expertIntermediateSize
    func fits(_ devices: Int, _ groupSize: Int) -> Bool {
      width % devices == 0 && (width / devices) % max(64, groupSize) == 0
    }
    for case .codes(let code, let groupSize) in schemes where !fits(devices, groupSize) {
      guard let encoding = format.encodings.first(where: { $0.codes?.code == code && $0.groupSize == groupSize }) else {
        continue
      }
      throw refuse(
        .tensorParallel(
          devices: devices, width: width, encoding, fits: (1...max(devices, 1)).filter { fits($0, groupSize) }))
    }
  }
}
