import Dispatch
import Glibc
import Synchronization
import Tensors

/// Reads weights ahead of a run that goes once through the layers with so many rows that it uses nearly all experts.
///
/// A run that waits for each weight when it comes to it leaves the disk idle while it computes. Only a bounded number of
/// bytes is read ahead, so that what comes later does not push out of the page cache what comes first. Of a model that the
/// page cache cannot hold, what was read for one layer goes when the next has come: else the system would look for pages to
/// give up while the run waits for them, and find those that are needed next.
package final class ReadAhead {
  /// How far ahead, in bytes: at two gigabytes a second a quarter of a second, longer than any product takes.
  private static let distance = 512 << 20
  /// Below so many choices for each expert, some experts are likely to be left out, and reading them would be in vain.
  private static let choicesPerExpert = 3

  private let places: [HeldBytes]
  /// By place, the bytes before it.
  private let starts: [Int]
  /// By layer, its first place.
  private let layers: [Int]
  /// By layer and expert, the first place.
  private let experts: [[Int]]
  private let releases: Bool
  private var next = 0
  private let queue = DispatchQueue(label: "ingot.read-ahead")
  /// Places that were read for this run and not let go yet, in order.
  private let held = Shared()

  /// - Parameter rows: that go through each layer.
  /// - Returns: nil where they are too few.
  package init?(_ weights: any WeightSource, rows: Int) {
    let c = weights.configuration
    guard rows * c.expertsPerToken >= Self.choicesPerExpert * c.expertCount else { return nil }
    var places: [HeldBytes] = []
    var starts: [Int] = []
    var layers = [Int](repeating: 0, count: c.layerCount)
    var experts = [[Int]](repeating: [], count: c.layerCount)
    var byteCount = 0
    var layer = -1
    for item in LLaDA2MoE.items(c, has: weights.hasTensor) {
      switch item {
      case .tensor(let tensor) where tensor.role == .embedding: continue  // only some of its rows are read
      case .tensor(let tensor) where layer + 1 < c.layerCount && tensor.name.hasPrefix("model.layers.\(layer + 1)."):
        layer += 1
        layers[layer] = places.count
      case .tensor: break
      case .expert(let layer, _, _): experts[layer].append(places.count)
      }
      for place in weights.places(of: item) {
        places.append(place)
        starts.append(byteCount)
        byteCount += place.byteCount
      }
    }
    self.places = places
    self.starts = starts
    self.layers = layers
    self.experts = experts
    releases = byteCount > sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) / 2
  }

  /// Says that the run has come to a layer, and is done with those before.
  package func reached(layer: Int) {
    reached(place: layers[layer])
    guard releases else { return }
    queue.async { [places, held, first = layers[layer]] in
      for place in held.take(below: first) { places[place].release() }
    }
  }

  /// Says that the run has come to an expert.
  func reached(layer: Int, expert: Int) { reached(place: experts[layer][expert]) }

  private func reached(place: Int) {
    guard place < places.count else { return }
    let first = next
    while next < places.count, starts[next] < starts[place] + Self.distance { next += 1 }
    guard first < next else { return }
    // Asking waits for the disk's queue.
    queue.async { [places, held, first, next] in
      for place in first..<next where places[place].willNeed() { held.add(place) }
    }
  }

  /// What the queue alone uses.
  private final class Shared: Sendable {
    private let places = Mutex<[Int]>([])

    func add(_ place: Int) { places.withLock { $0.append(place) } }

    func take(below limit: Int) -> ArraySlice<Int> {
      places.withLock { places in
        let taken = places.prefix { $0 < limit }
        places.removeFirst(taken.count)
        return taken
      }
    }
  }
}
