using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>Attach and detach: what is asked for goes to the domain in force, and nothing stays without an answer.</content>
internal sealed partial class PageRequestRouter
{
    [ThreadStatic]
    private static PageRequestAttachment? t_running;

    /// <summary>
    /// Switches what a device or a PASID is attached to, in hardware by <paramref name="switchHardware"/>. Requests that come
    /// in the middle go to the new domain. When it returns success, every group of the old one has its answer.
    /// </summary>
    internal Errno Switch(IommuDevice device, Pasid pasid, Domain next, Func<Errno> switchHardware)
    {
        PageRequestAttachment? fresh = next is BlockedDomain ? null : new(device, pasid, next);
        PageRequestAttachment? old = Replace(device, pasid, fresh);
        Errno error = switchHardware();
        if (error == Errno.Success)
        {
            // What the hardware still has queued from before is taken now, and finds the new state.
            _iommu.ReadPageRequests();
            Drain(old, device, pasid, dropsPartials: fresh is null);
            return Errno.Success;
        }

        _ = Replace(device, pasid, old);
        Drain(fresh, device, pasid, dropsPartials: old is null);
        return error;
    }

    /// <summary>The device is gone: its groups are answered, for the books, and forgotten.</summary>
    internal void Forget(IommuDevice device)
    {
        List<PageRequestAttachment> gone = [];
        _iommu.ReadPageRequests();
        using (_lock.Acquire())
        {
            foreach (((ulong Device, uint Pasid) key, PageRequestAttachment attachment) in _attachments)
            {
                if (ReferenceEquals(attachment.Device, device) && _attachments.Remove(key))
                {
                    gone.Add(attachment);
                }
            }

            DropPartials(key => key.Device == device.Id.Value);
        }

        foreach (PageRequestAttachment attachment in gone)
        {
            Drain(attachment, device, attachment.Pasid, dropsPartials: false);
        }
    }

    private PageRequestAttachment? Replace(IommuDevice device, Pasid pasid, PageRequestAttachment? next)
    {
        using (_lock.Acquire())
        {
            (ulong, uint) key = (device.Id.Value, pasid.Value);
            _ = _attachments.Remove(key, out PageRequestAttachment? old);
            if (next is not null)
            {
                _attachments.Add(key, next);
            }

            return old;
        }
    }

    // Answers what nobody has answered, and waits for answers on their way and for handlers that are running.
    private void Drain(PageRequestAttachment? attachment, IommuDevice device, Pasid pasid, bool dropsPartials)
    {
        List<PageRequestGroup> canceled = [];
        List<PageRequestGroup> told = [];
        using (_lock.Acquire())
        {
            if (dropsPartials)
            {
                DropPartials(key => key.Device == device.Id.Value && key.Pasid == pasid.Value);
            }

            if (attachment is null)
            {
                return;
            }

            attachment.IsClosed = true;
            foreach (PageRequestGroup group in attachment.Outstanding)
            {
                if (group.State < PageRequestGroup.Progress.Answering)
                {
                    if (group.State == PageRequestGroup.Progress.Delivered)
                    {
                        told.Add(group);
                    }

                    group.State = PageRequestGroup.Progress.Answering;
                    canceled.Add(group);
                    _statistics = _statistics with { Canceled = _statistics.Canceled + 1 };
                }
            }
        }

        foreach (PageRequestGroup group in canceled)
        {
            _ = Finish(group, PageResponseCode.InvalidRequest);
        }

        // A handler that detaches itself does not wait for itself.
        int own = ReferenceEquals(t_running, attachment) ? 1 : 0;
        for (int spins = 0; !IsIdle(attachment, own); spins++)
        {
            Pause(spins);
        }

        foreach (PageRequestGroup group in told)
        {
            attachment.Domain.PageRequestHandler?.OnCanceled(group);
        }
    }

    private bool IsIdle(PageRequestAttachment attachment, int own)
    {
        using (_lock.Acquire())
        {
            return attachment.Running <= own && attachment.Outstanding.Count == 0;
        }
    }

    private static void Pause(int spins)
    {
        if (Injection.Current is not null)
        {
            _ = Injection.Hit(InjectionKind.Wait);
        }
        else if (spins < 64)
        {
            Thread.SpinWait(32);
        }
        else
        {
            Thread.Sleep(spins < 128 ? 0 : 1);
        }
    }
}
