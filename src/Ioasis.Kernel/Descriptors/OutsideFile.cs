using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A descriptor of something that is not this kernel's: a counter of the system that the process runs on, which devices signal and listen
/// to; or, without one, a file of no use to any call here.
/// </summary>
internal sealed class OutsideFile(IVfioEvent? counter) : OpenFile
{
    /// <summary>The counter.</summary>
    public IVfioEvent? Counter => counter;

    /// <inheritdoc/>
    protected override void Release()
    {
        // Whoever it was given to may still use the counter.
    }
}
