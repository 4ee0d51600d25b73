using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Devices.Dsa;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Processes;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests;

/// <summary>Random operations of several threads on processes, bindings and devices, with an audit at the end.</summary>
public class LoadTests : SvaSuite
{
    private const int Slots = 6;
    private static readonly int s_operations = ExplorerOptions.All ? 10_000_000 : 40_000;

    [Fact]
    [Trait("Requirement", "S2.1")]
    [Trait("Requirement", "S2.11")]
    public void Random_operations_under_load_leave_nothing_behind()
    {
        using SvaRig rig = NewRig(dispatch: PageRequestDispatch.Worker);
        using DsaDevice accelerator = new();
        EmbeddedEndpoint[] devices = [rig.AddDevice(), rig.AddDevice(pasidBits: 8), rig.AddAccelerator(accelerator, 32)];
        UserProcess?[] slots = new UserProcess?[Slots];
        Lock[] locks = [.. Enumerable.Range(0, Slots).Select(static _ => new Lock())];
        Exception? failure = null;
        Thread[] threads = [.. Enumerable.Range(0, 3).Select(who => new Thread(() =>
        {
            try
            {
                Hammer(rig, devices, accelerator.GetPortal(0), slots, locks, new(who), s_operations / 3);
            }
            catch (Exception e) when (Interlocked.CompareExchange(ref failure, e, null) is null)
            {
            }
        }))];
        Array.ForEach(threads, static thread => thread.Start());
        Array.ForEach(threads, static thread => thread.Join());
        failure.ShouldBeNull();
        foreach (UserProcess? process in slots)
        {
            process?.Exit().ShouldBe(Errno.Success);
        }

        SpinWait.SpinUntil(() => accelerator.Pending == 0, TimeSpan.FromMinutes(5)).ShouldBeTrue();
        PasidAudit audit = rig.Allocator.Audit;
        (audit.Live, audit.Parked, audit.Numbers).ShouldBe((0, 0, 0));
        rig.Platform.Driver.Usage.AddressSpaces.ShouldBe(0);
        SpinWait.SpinUntil(() => rig.Platform.Driver.PageRequests.Statistics.Waiting == 0, TimeSpan.FromMinutes(5)).ShouldBeTrue();
        rig.Pages.AllocatedBytes.ShouldBe(0);
        rig.Frames.SwappedCount.ShouldBe(0);
        accelerator.Statistics.Accepted.ShouldBeGreaterThan(0);
    }

    // Every thread has handles of its own; processes are shared: one may end while another thread binds it or its device writes.
    private static void Hammer(
        SvaRig rig, EmbeddedEndpoint[] devices, ISharedWorkQueue portal, UserProcess?[] slots, Lock[] locks, Random random, int count)
    {
        List<(SvaBinding Binding, EmbeddedEndpoint Device)> held = [];
        byte[] command = new byte[64];
        for (int i = 0; i < count; i++)
        {
            int slot = random.Next(Slots);
            UserProcess? process;
            lock (locks[slot])
            {
                process = slots[slot] ??= new("process", rig.NewProcess());
            }

            ulong at = SvaRig.Base + ((ulong)random.Next(16) * SvaRig.Size);
            switch (random.Next(12))
            {
                case 0 when held.Count < 20:
                    EmbeddedEndpoint device = devices[random.Next(devices.Length)];
                    Errno error = random.Next(4) == 0
                        ? rig.Manager.BindPrivate(device.Device, process.AddressSpace, null, out SvaBinding? binding)
                        : rig.Manager.Bind(device.Device, process.AddressSpace, null, out binding);
                    error.ShouldBeOneOf(Errno.Success, Errno.NoEntry, Errno.NoSpace, Errno.Overflow);
                    if (error == Errno.Success)
                    {
                        held.Add((binding!, device));
                    }

                    break;
                case 1 when held.Count > 0:
                    int index = random.Next(held.Count);
                    held[index].Binding.Unbind().ShouldBe(Errno.Success);
                    held.RemoveAt(index);
                    break;
                case 2 when random.Next(4) == 0:
                    lock (locks[slot])
                    {
                        slots[slot] = null;
                    }

                    process.Exit().ShouldBe(Errno.Success);
                    break;
                case 3:
                    _ = process.AddressSpace.Unmap(at, SvaRig.Size);
                    _ = process.AddressSpace.Map(at, SvaRig.Size, Access.ReadWrite);
                    break;
                case 4:
                    _ = process.AddressSpace.SwapOut(at, SvaRig.Size, out _);
                    break;
                case 5 when random.Next(8) == 0:
                    if (process.TryFork("child", out UserProcess? child) == Errno.Success)
                    {
                        _ = child!.AddressSpace.Write(at, [1]);
                        child.Exit().ShouldBe(Errno.Success);
                    }

                    break;
                case 6:
                    new DsaDescriptor(DsaOperation.Fill, DsaFlags.BlockOnFault, 0, 7, at, 4096).WriteTo(command);
                    _ = process.StartThread().Submit(portal, command);
                    break;
                case 7:
                    _ = process.AddressSpace.Write(at, [(byte)i]);
                    break;
                case 8:
                    _ = process.AddressSpace.Protect(at, SvaRig.Size, random.Next(2) == 0 ? Access.Read : Access.ReadWrite);
                    break;
                default:
                    if (held.Count > 0)
                    {
                        (SvaBinding Binding, EmbeddedEndpoint Device) user = held[random.Next(held.Count)];
                        _ = SvaRig.DeviceWrite(user.Device, user.Binding.Pasid, at, 5);
                    }

                    break;
            }
        }

        held.ForEach(static user => user.Binding.Unbind().ShouldBe(Errno.Success));
    }
}
