import Models
import Pack
import Storage
import Tensors

/// From nothing to the first byte of an expert: open, find one tensor by its name, touch its codes.
struct OpenWorkload {
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws(PackError) {
    let first = try PackFile(path: path)
    let name = try lastExpert(of: first)
    var times: [Double] = []
    var checksum = 0
    for _ in 0..<20 * options.runs {
      let start = now()
      let pack = try PackFile(path: path)
      let tensor = try pack.tensor(named: name)
      let content = try pack.content(ofChunk: tensor.firstChunk, codec: ChunkCodec())
      let (_, planes) = try pack.planes(of: tensor, chunk: 0)
      checksum += Int(content.bytes.integer(at: planes[0].lowerBound, as: UInt8.self))
      times.append(now() - start)
    }
    times.sort()
    let micros = [times[0], times[times.count / 2], times[times.count - 1]].map { digits($0 * 1e6) }
    print(
      "{\"workload\":\"open\",\"tensors\":\(first.header.tensorCount),\"bytes\":\(first.header.fileLength),"
        + "\"runs\":\(times.count),\"us\":{\"min\":\(micros[0]),\"median\":\(micros[1]),\"max\":\(micros[2])},"
        + "\"tensor\":\"\(name)\",\"checksum\":\(checksum)}")
  }

  private func lastExpert(of pack: PackFile) throws(PackError) -> String {
    for index in (0..<pack.header.tensorCount).reversed() {
      let name = try pack.tensor(index).name
      if Architectures.identify(name)?.role == .expert { return name }
    }
    return try pack.tensor(0).name
  }
}
