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
/// <remarks>Memory that is freed while it is mapped is not found here: the program's own memory tells nobody when it goes.</remarks>
public sealed class DmaSanitizer : IDisposable
{
    private const int MostFrames = 24;

    // Faults that nobody asked for yet; more are one report anyway.
    private const int MostWaiting = 4096;

    private readonly EmbeddedPlatform _platform;
    private readonly WaitingFaults _waiting = new();
    private readonly DmaJournal _journal;
    private readonly Func<IReadOnlyList<ProgramFrame>> _stack;
    private int _disposed;

    /// <summary>Begins to look.</summary>
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

    /// <summary>Looks no more. The kernel goes on without.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
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
