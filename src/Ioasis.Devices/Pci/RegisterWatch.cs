namespace Ioasis.Devices;

/// <summary>
/// The thread by which a device looks at registers that a client has mapped: nothing tells of a store to them. It looks without
/// a pause while there is work, and less and less often afterwards, at last once a millisecond.
/// </summary>
internal sealed class RegisterWatch
{
    // Looks in a row without a finding before it lets others run, and before it sleeps between two looks.
    private const int BusyLooks = 2_000;
    private const int PatientLooks = 12_000;

    private readonly Func<bool> _look;
    private readonly Thread _thread;
    private volatile bool _ends;

    /// <summary>Begins.</summary>
    /// <param name="name">The device, for people.</param>
    /// <param name="look">Looks once, and tells whether there was something. Does not throw.</param>
    public RegisterWatch(string name, Func<bool> look)
    {
        _look = look;
        _thread = new(Run) { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>Ends it. No look is under way when the call returns, unless it is made by one.</summary>
    public void End()
    {
        _ends = true;
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private void Run()
    {
        int idle = 0;
        while (!_ends)
        {
            if (_look())
            {
                idle = 0;
            }
            else if (++idle < BusyLooks)
            {
                Thread.SpinWait(8);
            }
            else if (idle < PatientLooks)
            {
                _ = Thread.Yield();
            }
            else
            {
                idle = PatientLooks;
                Thread.Sleep(1);
            }
        }
    }
}
