using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// Waits for the program, and for its orphans, which become this process's children: so the system lets us reach their memory too. Signals that
/// ask this process to end go to the program; it decides.
/// </summary>
internal sealed unsafe partial class ProgramWaiter : IDisposable
{
    private const int ChildSubreaper = 36;

    private readonly int _process;
    private readonly List<PosixSignalRegistration> _registrations = [];

    public ProgramWaiter(int process)
    {
        _process = process;

        // Of the keyboard's the program has its own.
        foreach (PosixSignal signal in (ReadOnlySpan<PosixSignal>)[PosixSignal.SIGINT, PosixSignal.SIGQUIT])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, static context => context.Cancel = true));
        }

        foreach ((PosixSignal signal, int number) in (ReadOnlySpan<(PosixSignal, int)>)[(PosixSignal.SIGTERM, 15), (PosixSignal.SIGHUP, 1)])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                _ = SystemCalls.Kill(_process, number);
            }));
        }
    }

    /// <summary>Takes orphans of children over. Before the program is started.</summary>
    public static void AdoptOrphans() => _ = SystemCalls.Prctl(ChildSubreaper, 1);

    /// <summary>Waits until the program ends.</summary>
    /// <returns>Its status, as <c>wait(2)</c> has it.</returns>
    public int Wait()
    {
        while (true)
        {
            int status = 0;
            nint ended = SystemCalls.Wait(-1, &status);
            if (ended == _process)
            {
                new Thread(ReapOthers, 128 * 1024) { IsBackground = true, Name = "ioasis reaper" }.Start();
                return status;
            }

            if (ended < 0 && ended != -(int)Errno.Interrupted)
            {
                return 0;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _registrations.ForEach(static registration => registration.Dispose());

    private static void ReapOthers()
    {
        int status = 0;
        while (SystemCalls.Wait(-1, &status) is var ended && (ended >= 0 || ended == -(int)Errno.Interrupted))
        {
        }
    }
}
