using System.Collections.Concurrent;
using System.Diagnostics;
using Ioasis.Core;
using Ioasis.Uapi;

namespace Ioasis.Embedded.Sanitizing;

/// <summary>
/// Finds mistakes with DMA of a program in this process (docs/sanitize.md): the program uses <see cref="Kernel"/> in place of the platform's, and the sanitizer follows what it
/// maps, unmaps and closes, and what its devices then do. Thread-safe.
/// </summary>
/// <example>
/// <code>
/// using EmbeddedPlatform platform = new(new());
/// using DmaSanitizer sanitizer = new(platform);
/// using (IommuFd iommu = IommuFd.Open(sanitizer.Kernel))
/// {
///     // … the driver and its device
/// }
///
/// sanitizer.ThrowIfMistaken();
/// </code>
/// </example>
/// <remarks>
/// Memory that goes while it is mapped is found when a device uses it, if it went back to the system; what an allocator keeps is found if the program tells of it
/// (<see cref="MarkFreed"/>).
/// </remarks>
public sealed class DmaSanitizer : IDisposable
{
    private const int MostFrames = 24;

    // Faults that nobody asked for yet; more are one report anyway.
    private const int MostWaiting = 4096;

    private readonly EmbeddedPlatform _platform;
    private readonly WaitingFaults _waiting = new();
    private readonly List<(EmbeddedIommu Iommu, DmaWatch Watch)> _watches = [];
    private readonly DmaJournal _journal;
    private readonly Func<IReadOnlyList<ProgramFrame>> _stack;
    private int _disposed;

    /// <summary>Begins to look. Of several on one machine the last one sees what the IOMMU lets pass.</summary>
    /// <param name="platform">The machine.</param>
    /// <param name="kernel">What system calls go to; null for the platform's <see cref="EmbeddedPlatform.Kernel"/>.</param>
    /// <param name="options">What is looked for; null for everything.</param>
    public DmaSanitizer(EmbeddedPlatform platform, IKernelAbi? kernel = null, SanitizeOptions? options = null)
        : this(platform, kernel, options, ManagedStack)
    {
    }

    /// <summary>Begins to look, with stacks of another kind.</summary>
    internal DmaSanitizer(EmbeddedPlatform platform, IKernelAbi? kernel, SanitizeOptions? options, Func<IReadOnlyList<ProgramFrame>> stack)
    {
        ArgumentNullException.ThrowIfNull(platform);
        _platform = platform;
        _journal = new(options ?? new());
        _stack = stack;
        Kernel = new SanitizedKernel(this, kernel ?? platform.Kernel);
        platform.Faults.Add(_waiting);
        foreach (EmbeddedIommu iommu in platform.Iommus)
        {
            DmaWatch watch = new(platform, iommu, _journal, isInProcess: true);
            _watches.Add((iommu, watch));
            iommu.WatchDma(watch);
        }
    }

    /// <summary>What the program uses as its kernel. Its descriptors are those of the kernel below.</summary>
    public IKernelAbi Kernel { get; }

    /// <summary>The mistakes so far, the worst first. What is mapped still is no mistake yet.</summary>
    public IReadOnlyList<DmaReport> GetReports()
    {
        Drain();
        return _journal.Reports();
    }

    /// <summary>The program is at its end: what it has not unmapped is reported as left.</summary>
    /// <returns>All mistakes, the worst first.</returns>
    public IReadOnlyList<DmaReport> Finish()
    {
        Drain();
        _journal.End();
        return _journal.Reports();
    }

    /// <summary>The program is at its end (<see cref="Finish"/>): a test ends here if it did anything wrong.</summary>
    /// <exception cref="DmaMistakeException">There was a mistake.</exception>
    public void ThrowIfMistaken()
    {
        IReadOnlyList<DmaReport> reports = Finish();
        if (reports.Count > 0)
        {
            throw new DmaMistakeException(reports);
        }
    }

    /// <summary>
    /// The program frees memory, or gives it to another use, as an allocator that keeps what is freed would not show otherwise: an access to what of it is mapped still is
    /// <see cref="DmaMistake.FreedMemory"/>, with this place. Memory that goes back to the system is found without.
    /// </summary>
    /// <param name="address">First byte.</param>
    /// <param name="length">Bytes; 0 for none.</param>
    public void MarkFreed(nint address, nuint length) => _journal.Freed(
        Environment.ProcessId, (ulong)address, length, () => new(_journal.Now, Environment.CurrentManagedThreadId, _stack()));

    /// <summary>Looks no more. The kernel goes on without.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            foreach ((EmbeddedIommu iommu, DmaWatch watch) in _watches)
            {
                iommu.EndWatch(watch);
            }

            _platform.Faults.Remove(_waiting);
        }
    }

    /// <summary>Judges what was refused so far, by what is mapped now.</summary>
    internal void Drain()
    {
        _platform.RunInterrupts();
        while (_waiting.TryDequeue(out IommuFault fault))
        {
            _journal.Judge(fault);
        }

        if (_journal.IsOver)
        {
            Environment.FailFast(string.Join('\n', _journal.Reports()));
        }
    }

    /// <summary>A call was carried out.</summary>
    internal void Called(object owner, uint request, ReadOnlySpan<byte> before, ReadOnlySpan<byte> after, int result) =>
        _journal.Called(owner, Environment.ProcessId, request, before, after, result, () => new(_journal.Now, Environment.CurrentManagedThreadId, _stack()));

    /// <summary>A call begins that has no IOMMU forget.</summary>
    internal void Called() => _journal.Call(Environment.CurrentManagedThreadId);

    /// <summary>What is mapped may change until what this returns is disposed of.</summary>
    internal IDisposable Change() => _journal.Change();

    /// <summary>A call had an IOMMU forget (<see cref="DmaJournal.Forgets"/>).</summary>
    internal void Forgot(uint request, ReadOnlySpan<byte> argument) => _journal.Invalidated(
        Environment.CurrentManagedThreadId,
        GuestInvalidation.Of(_platform, request, argument, (address, destination) => _platform.ClientMemory.Read(address, destination) == Primitives.Errno.Success));

    /// <summary>A file has its last descriptor closed.</summary>
    internal void Closed(object owner)
    {
        Drain();
        _journal.Closed(owner);
    }

    // From the program on: how the call came here through our client is of no use to it.
    private static IReadOnlyList<ProgramFrame> ManagedStack()
    {
        List<ProgramFrame> frames = [];
        bool isOurs = true;
        foreach (StackFrame frame in new StackTrace(fNeedFileInfo: true).GetFrames())
        {
            if (DiagnosticMethodInfo.Create(frame) is not { } method)
            {
                continue;
            }

            string assembly = method.DeclaringAssemblyName.Split(',', 2)[0];
            isOurs = isOurs && assembly is "Ioasis.Embedded" or "Ioasis.Client" or "Ioasis.Uapi";
            if (isOurs || frames.Count == MostFrames)
            {
                continue;
            }

            string place = frame.GetFileName() is { } file ? $" at {Path.GetFileName(file)}:{frame.GetFileLineNumber().ToString(System.Globalization.CultureInfo.InvariantCulture)}" : "";
            frames.Add(new((ulong)frame.GetNativeIP(), assembly, (ulong)Math.Max(0, frame.GetILOffset())) { Source = $"{method.DeclaringTypeName}.{method.Name}{place}" });
        }

        return frames;
    }

    private sealed class WaitingFaults : IIommuFaultSink
    {
        private readonly ConcurrentQueue<IommuFault> _faults = new();

        public void OnFault(in IommuFault fault)
        {
            if (_faults.Count < MostWaiting)
            {
                _faults.Enqueue(fault);
            }
        }

        public void OnFaultsLost()
        {
            // What was lost is like what was kept: a flood.
        }

        public bool TryDequeue(out IommuFault fault) => _faults.TryDequeue(out fault);
    }
}
