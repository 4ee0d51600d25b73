using Ioasis.Primitives;

namespace Ioasis.Devices;

/// <summary>
/// A device model's part in the life of a PASID: it has queues of its own whose work carries it. The machine tells it when a
/// PASID may be used, when it must not be any more, and asks whether anything of it is left.
/// </summary>
public interface IPasidUser
{
    /// <summary>A name for people.</summary>
    string Name { get; }

    /// <summary>The PASID may be used from now on; what was stopped under the same number before was another one.</summary>
    void BeginPasid(Pasid pasid);

    /// <summary>No new work with the PASID is taken from now on, and what was taken is dropped as soon as can be. Does not wait.</summary>
    /// <returns>Success, or why the device could not be told.</returns>
    Errno StopPasid(Pasid pasid);

    /// <summary>Whether no request with the PASID can leave the device any more.</summary>
    /// <param name="pasid">A PASID that was stopped.</param>
    /// <param name="holds">What is left, for people; null if nothing is.</param>
    bool IsPasidDrained(Pasid pasid, out string? holds);
}
